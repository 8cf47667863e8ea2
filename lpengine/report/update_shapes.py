"""Updates to JSON documents."""

from collections.abc import Sequence

from lpengine.package.model import Content, DiskPackage, LivePatch, Update
from lpengine.report import update_documents as d
from lpengine.report.values import Packed, Verified


def bundle_document(packed: Packed) -> d.BundleDocument:
    return d.BundleDocument(
        schema="lpengine/bundle/1",
        path=packed.path,
        size=packed.size,
        digest=packed.digest,
        signed_by=packed.signed_by,
        update=update_row(packed.update),
    )


def updates_document(path: str, updates: Sequence[Update]) -> d.UpdatesDocument:
    return d.UpdatesDocument(
        schema="lpengine/updates/1",
        path=path,
        updates=[update_row(update) for update in updates],
    )


def verified_document(verified: Verified) -> d.VerifiedDocument:
    return d.VerifiedDocument(
        schema="lpengine/verified/1",
        path=verified.packed.path,
        id=verified.packed.update.id,
        digest=verified.packed.digest,
        principals=verified.signer.principals,
        signed_by=verified.signer.fingerprint,
        contents=verified.contents,
        size=verified.packed.size,
        defects=len(verified.packed.update.defects),
    )


def update_row(update: Update) -> d.UpdateRow:
    return d.UpdateRow(
        id=update.id,
        title=update.title,
        summary=update.summary,
        description=update.description,
        type=update.type,
        url=update.url,
        issued=update.issued,
        severity=update.severity,
        cves=list(update.cves),
        components=list(update.components),
        livepatches=[livepatch_row(each) for each in update.livepatches],
        files=[
            d.UpdateFileRow(
                path=each.path,
                mode=f"{each.mode:04o}",
                owner=each.owner,
                group=each.group,
                content=content_row(each.content),
            )
            for each in update.files
        ],
        packages=[package_row(each) for each in update.packages],
        guidance={
            level.value: [str(word) for word in words]
            for level, words in update.guidance.items()
        },
        applicabilities=[
            d.ApplicabilityRow(
                name=each.name,
                architecture=each.architecture,
                inequality=each.inequality.value,
                version=str(each.version),
            )
            for each in update.applicabilities
        ],
        requires=list(update.requires),
        conflicts=list(update.conflicts),
        installation_size=update.installation_size,
        homogeneous=update.homogeneous,
        defects=[
            d.DefectRow(where=each.where, what=each.what, component=each.component)
            for each in update.defects
        ],
    )


def livepatch_row(each: LivePatch) -> d.VersionedPatchRow:
    return d.VersionedPatchRow(
        component=each.component,
        base_build_id=each.base_build_id,
        base_version=each.base.version,
        base_release=each.base.release,
        to_version=each.to.version,
        to_release=each.to.release,
        name=each.name,
        content=content_row(each.content) if each.content else None,
    )


def package_row(each: DiskPackage) -> d.UpdatePackageRow:
    return d.UpdatePackageRow(
        format=each.format,
        name=each.name,
        architecture=each.architecture,
        version=str(each.version),
        content=content_row(each.content),
    )


def content_row(content: Content) -> d.ContentRow:
    return d.ContentRow(member=content.member, size=content.size, sha256=content.sha256)
