"""From patches and facts to a plan: one function a verb."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from lpengine.patch.model import Patch
from lpengine.planner.catalogue.causes import about_function
from lpengine.planner.draft import Draft, found, settle, step
from lpengine.planner.facts import Facts, LoadedPatch, PatchState
from lpengine.planner.findings import Finding
from lpengine.planner.plan import (
    DEFAULT_POLICY,
    Apply,
    Load,
    Plan,
    Policy,
    Replace,
    Revert,
    Unload,
)
from lpengine.planner.rules import RULES, Rule, RuleSet, linux_state, permission, state
from lpengine.planner.rules.form import well_formed
from lpengine.planner.rules.identity import fits_on_image, fits_on_stack
from lpengine.planner.rules.linux_quiet import tasks_leave_again
from lpengine.planner.rules.quiet import no_waitqueues, patch_idle
from lpengine.planner.sites import label
from lpengine.planner.situation import (
    Situation,
    after_apply,
    after_load,
    after_revert_all,
    observe,
    without,
)

# Thousands of the same tell a user nothing.
MOST_OF_ONE_CAUSE = 16


def plan_apply(
    patches: Sequence[Patch], facts: Facts, policy: Policy = DEFAULT_POLICY
) -> Plan:
    """Puts `patches` on, the first one lowest. What is applied already is left
    alone, what is loaded already is not loaded again."""
    situation = observe(facts, policy)
    draft = found(
        Draft(situation),
        *permission.permitted(situation),
        *permission.allowed(situation),
        *permission.may_force(situation),
        *no_waitqueues(situation),
    )
    together = {patch.name for patch in patches}
    for patch in patches:
        draft = put_on(draft, patch, together)
    return settle("apply", facts, draft)


def put_on(draft: Draft, patch: Patch, together: set[str]) -> Draft:
    """`together` names all patches of the plan."""
    loaded = own(draft.situation, patch)
    if loaded is not None and patch.name in draft.situation.applied:
        return found(draft, state.already_applied(patch, draft.situation))
    if not speaks(patch, draft.situation):
        return found(draft, linux_state.wrong_format(patch, draft.situation))
    applying = rules_of(draft.situation).applying
    draft = bring_in(draft, patch, together, (*applying, fits_on_stack))
    if patch.replace and draft.situation.applied:
        # The module itself says that it takes everything else off.
        return replace_all(draft, patch)
    policy = draft.situation.policy
    situation = after_apply(draft.situation, patch)
    return step(draft, situation, Apply(patch.name, policy.nodeps, policy.force))


def replace_all(draft: Draft, patch: Patch) -> Draft:
    bare = after_revert_all(draft.situation)
    situation = after_apply(replace(bare, bare=False), patch)
    replaced, force = draft.situation.applied, situation.policy.force
    return step(draft, situation, Replace(patch.name, replaced, force))


def speaks(patch: Patch, situation: Situation) -> bool:
    return patch.format == situation.facts.capabilities.format


def rules_of(situation: Situation) -> RuleSet:
    return RULES[situation.facts.capabilities.format]


def bring_in(
    draft: Draft, patch: Patch, together: set[str], applying: Sequence[Rule]
) -> Draft:
    """Loads the patch if it is not there; judges it by every rule in any case."""
    loaded = own(draft.situation, patch)
    known = rules_of(draft.situation)
    rules: tuple[Rule, ...] = (*known.module, *applying)
    if loaded is not None:
        draft = freshen(draft, patch, loaded, together)
    else:
        rules = (*known.loading, *rules)
    if own(draft.situation, patch) is not None:
        seen = without(draft.situation, patch.name)
        return found(draft, *judged(patch, seen, rules))
    draft = found(draft, *judged(patch, draft.situation, rules))
    load = Load(patch.name, patch.sha256)
    return step(draft, after_load(draft.situation, patch), load)


def own(situation: Situation, patch: Patch) -> LoadedPatch | None:
    """The patch itself, where it is loaded; not another one of the same name. The
    bytes tell; where the target does not know them, the build id, a hash of them."""
    loaded = situation.found(patch.name)
    if loaded is None:
        return None
    if loaded.sha256:
        return loaded if loaded.sha256 == patch.sha256 else None
    same = bool(loaded.build_id) and loaded.build_id == patch.build_id
    return loaded if same else None


def freshen(
    draft: Draft, patch: Patch, loaded: LoadedPatch, together: set[str]
) -> Draft:
    """Takes a patch with used data out of the target, with those patches of the
    plan that were resolved against it, so that all are loaded afresh."""
    if loaded.pinned:
        return found(draft, linux_state.pinned(loaded))
    if not loaded.reverted or loaded.safe_to_reapply:
        return draft
    for user in reversed(users(patch.name, draft.situation)):
        if user.name in together and user.state is PatchState.CHECKED:
            draft = take_out(draft, user)
        else:
            draft = found(draft, state.stale_reference(user, patch))
    return take_out(found(draft, state.loads_again(patch)), loaded)


def take_out(draft: Draft, loaded: LoadedPatch) -> Draft:
    situation = without(draft.situation, loaded.name)
    return step(draft, situation, Unload(loaded.name, loaded.sha256))


def users(name: str, situation: Situation) -> tuple[LoadedPatch, ...]:
    """The loaded patches that depend on `name`, directly or not, in load order: they
    name its build id as what lies below them, or use a symbol that it brought."""
    found = [one for one in situation.loaded if one.name == name]
    for _ in situation.loaded:
        ids = {one.build_id for one in found} - {""}
        brought = {symbol for one in found for symbol in one.symbols}
        found = [
            one
            for one in situation.loaded
            if one in found or one.depends in ids or brought.intersection(one.uses)
        ]
    return tuple(one for one in found if one.name != name)


def judged(
    patch: Patch, situation: Situation, rules: Sequence[Rule]
) -> tuple[Finding, ...]:
    """What the rules find. A rule that has seen the target knows more than the
    module's reader, whose word on the same thing is then left out."""
    found = [(rule, one) for rule in rules for one in rule(patch, situation)]
    better = {(f.cause, f.subject) for rule, f in found if rule is not well_formed}
    left = (
        finding
        for rule, finding in found
        if rule is not well_formed or (finding.cause, finding.subject) not in better
    )
    return at_most(MOST_OF_ONE_CAUSE, by_record(patch, left))


def at_most(most: int, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The first ones of every cause; the last of them says how many there are."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.cause, []).append(finding)
    return tuple(one for group in groups.values() for one in cut(most, group))


def cut(most: int, group: list[Finding]) -> list[Finding]:
    if len(group) <= most:
        return group
    last = group[most - 1]
    evidence = {**last.evidence, "in_all": len(group)}
    return [*group[: most - 1], replace(last, evidence=evidence)]


def by_record(patch: Patch, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The target checks one function record wholly before the next."""
    records = {label(f): f.index for f in reversed(patch.functions)}
    return tuple(
        sorted(
            findings,
            key=lambda f: records.get(f.subject, 0) if about_function(f.cause) else 0,
        )
    )


def plan_replace(patch: Patch, facts: Facts, policy: Policy = DEFAULT_POLICY) -> Plan:
    """Takes everything applied off and puts `patch` on, in one stop."""
    situation = observe(facts, policy)
    draft = found(
        Draft(situation),
        *permission.permitted(situation),
        *permission.allowed(situation),
        *permission.can_replace(situation),
        *permission.may_force(situation),
        *no_waitqueues(situation),
    )
    if not speaks(patch, situation):
        wrong = linux_state.wrong_format(patch, situation)
        return settle("replace", facts, found(draft, wrong))
    if patch.name in situation.applied and own(situation, patch) is not None:
        return settle("replace", facts, replaced_already(draft, patch))
    if situation.facts.capabilities.replaces_by_module and not patch.replace:
        draft = found(draft, linux_state.not_cumulative(patch))
    return settle("replace", facts, put_instead(draft, patch))


def replaced_already(draft: Draft, patch: Patch) -> Draft:
    applied = draft.situation.applied
    if applied == (patch.name,):
        return found(draft, state.already_applied(patch, draft.situation))
    above = applied[applied.index(patch.name) + 1 :]
    return found(draft, state.buried(patch, tuple(reversed(above))))


def put_instead(draft: Draft, patch: Patch) -> Draft:
    replaced = draft.situation.applied
    draft = found(draft, *takes_off_all(draft.situation, patch))
    # The module is loaded while the others are still applied; only what happens
    # within the stop sees the bare image.
    draft = bring_in(draft, patch, {patch.name}, ())
    bare = after_revert_all(draft.situation)
    seen = without(bare, patch.name)
    applying = rules_of(seen).applying
    if seen.facts.capabilities.replaces_by_module:
        # It comes in beside the others, which go off in its transition.
        seen = without(draft.situation, patch.name)
    draft = found(draft, *judged(patch, seen, (*applying, fits_on_image)))
    situation = after_apply(replace(bare, bare=False), patch)
    return step(draft, situation, Replace(patch.name, replaced, situation.policy.force))


def takes_off_all(situation: Situation, patch: Patch) -> tuple[Finding, ...]:
    applied = [situation.found(name) for name in situation.applied]
    known = [one for one in applied if one is not None]
    vetoing = [patch.name] if patch.has_vetoing_hooks else []
    vetoing += [one.name for one in known if one.vetoing_hooks]
    findings = [finding for one in known for finding in coming_off(one, situation)]
    if vetoing:
        findings.append(state.vetoing(patch.name, vetoing))
    return tuple(findings)


def coming_off(one: LoadedPatch, situation: Situation) -> Iterator[Finding]:
    yield from patch_idle(one, situation)
    yield from tasks_leave_again(one, situation)
    if one.irreversible:
        yield state.hard_to_revert(one)


def plan_revert(
    names: Sequence[str],
    facts: Facts,
    policy: Policy = DEFAULT_POLICY,
    *,
    everything: bool = False,
) -> Plan:
    """Takes `names` off, topmost first whatever order they are given in; with
    `everything` all that is applied, and `names` are not looked at."""
    situation = observe(facts, policy)
    draft = found(
        Draft(situation),
        *permission.permitted(situation),
        *permission.may_force(situation),
    )
    wanted = tuple(reversed(facts.applied)) if everything else tuple(names)
    for name in dict.fromkeys(wanted):
        if name not in facts.applied:
            draft = found(draft, absent(name, situation))
    for name in reversed(facts.applied):
        if name in wanted:
            draft = take_off(draft, name)
    return settle("revert", facts, draft)


def absent(name: str, situation: Situation) -> Finding:
    one = situation.found(name)
    if one is None:
        return state.not_loaded(name, situation.facts)
    return state.not_applied(one)


def take_off(draft: Draft, name: str) -> Draft:
    situation = draft.situation
    above = situation.applied[situation.applied.index(name) + 1 :]
    one = situation.found(name)
    if above and situation.facts.capabilities.ordered:
        draft = found(draft, state.not_on_top(name, tuple(reversed(above))))
    if one is not None:
        draft = found(draft, *coming_off(one, situation))
    left = tuple(other for other in situation.applied if other != name)
    revert = Revert(name, situation.policy.force)
    return step(draft, replace(situation, applied=left), revert)


def plan_unload(
    names: Sequence[str], facts: Facts, policy: Policy = DEFAULT_POLICY
) -> Plan:
    """Removes patches that are not applied, last loaded first."""
    situation = observe(facts, policy)
    draft = found(Draft(situation), *permission.permitted(situation))
    for name in dict.fromkeys(names):
        if situation.found(name) is None:
            draft = found(draft, state.not_loaded(name, facts))
    for one in reversed(facts.loaded):
        if one.name in names:
            draft = remove(draft, one)
    return settle("unload", facts, draft)


def remove(draft: Draft, one: LoadedPatch) -> Draft:
    if one.state is PatchState.APPLIED:
        return found(draft, state.still_applied(one.name, draft.situation))
    if one.pinned:
        return found(draft, linux_state.pinned(one))
    dependents = users(one.name, draft.situation)
    busy = [user for user in dependents if user.state is PatchState.APPLIED]
    idle = [user for user in dependents if user.state is not PatchState.APPLIED]
    if busy:
        draft = found(draft, state.needed_by_applied(one.name, busy))
    elif idle:
        draft = found(draft, state.needed_by(one.name, idle))
    return take_out(draft, one)
