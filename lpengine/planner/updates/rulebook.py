"""Every rule by its name, to be asked with JSON: for harnesses that compare this engine
with another, and for whoever wants to know what a rule says about one case."""

import inspect
import re
import types
import typing
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Any

import msgspec

from lpengine.errors import InputError, NotFoundError
from lpengine.package import versions
from lpengine.package.model import Update
from lpengine.planner.updates import (
    answers,
    case,
    consolidate,
    guidance,
    hotfix,
    install_order,
    livepatches,
    order,
    pending,
    precedence,
    readiness,
    reading,
    update_mode,
    wire,
    words,
)
from lpengine.planner.updates.decide import decide, decide_host, decide_pool
from lpengine.planner.updates.prechecks import guests, hosts, pools
from lpengine.planner.updates.state import DEFAULT_POLICY, PoolState, UpdatePolicy


@dataclass(frozen=True)
class Argument:
    """`kind` is the type of the values it takes."""

    name: str
    kind: Any
    required: bool


@dataclass(frozen=True)
class Rule:
    """`source` says where the rule comes from."""

    name: str
    source: str
    function: Callable[..., Any]

    @property
    def summary(self) -> str:
        """What it says, from its own description."""
        text = inspect.getdoc(self.function) or ""
        return " ".join(text.split("\n\n")[0].split())

    @property
    def headline(self) -> str:
        """The first sentence of that."""
        return re.split(r"(?<=[.;]) ", self.summary)[0].rstrip(".;")

    @property
    def arguments(self) -> tuple[Argument, ...]:
        kinds = typing.get_type_hints(self.function)
        return tuple(
            Argument(name, concrete(kinds[name]), one.default is one.empty)
            for name, one in inspect.signature(self.function).parameters.items()
        )

    @property
    def returns(self) -> Any:
        """The type of its answers."""
        return concrete(typing.get_type_hints(self.function)["return"])


def page(
    updates: Iterable[Update],
    fleet: Iterable[PoolState],
    policy: UpdatePolicy = DEFAULT_POLICY,
) -> update_mode.Page:
    """The page before installing, for the plan that is made: its text, or "No action
    required", and a line for each host."""
    return update_mode.page_of(decide(updates, fleet, policy))


_GROUPS: Mapping[str, tuple[str, tuple[Callable[..., Any], ...]]] = {
    "version": (
        "rpm: rpmvercmp; Debian policy 5.6.12; XAPI rpm.ml",
        (
            versions.compare,
            versions.matches,
            versions.parse_rpm,
            versions.parse_rpm_package,
            versions.parse_debian,
        ),
    ),
    "guidance": (
        "XAPI updateinfo.ml, repository_helpers.ml",
        (
            words.published,
            precedence.reduced,
            precedence.beyond,
            precedence.cascaded,
            guidance.row_matches,
            guidance.applies,
            guidance.contribution,
            guidance.evaluated,
            guidance.merged,
            guidance.reboot_is_mandatory,
            guidance.outstanding_rows,
            consolidate.consolidated,
        ),
    ),
    "livepatch": (
        "XAPI livepatch.ml, repository_helpers.ml",
        (
            livepatches.running,
            livepatches.collect,
            livepatches.is_supported,
            livepatches.accumulative,
            livepatches.chosen,
            livepatches.select,
            livepatches.displayed,
        ),
    ),
    "pending": (
        "XAPI repository_helpers.ml, xapi_host_helpers.ml, xapi_vm_lifecycle.ml",
        (
            pending.added_to_host,
            pending.added_to_guest,
            pending.host_after_update,
            pending.guest_after_update,
            pending.after_livepatches,
            pending.host_after_livepatches,
            pending.restart_levels,
            pending.guest_to_restart,
            pending.after_host_event,
            pending.after_guest_event,
            pending.upgraded,
            pending.shown,
            pending.refused_operations,
        ),
    ),
    "hotfix": (
        "XAPI pool_update.precheck; XenCenter's patching wizard",
        (
            hotfix.after_apply,
            hotfix.reboot_required,
            hotfix.effective_status,
            hotfix.reboot_notice,
            hotfix.needs_evacuation_check,
            hotfix.automatic_steps,
            hotfix.automatic_allowed,
            hotfix.livepatch_failed,
            answers.answer_of,
            answers.install_failure,
            answers.script_failure,
            answers.status_word,
            answers.problem_of,
            update_mode.hotfix_page,
            update_mode.repository_tasks,
        ),
    ),
    "precheck": (
        "XenCenter's prechecks (Diagnostics/Checks)",
        (
            pools.synchronisation,
            hosts.selection,
            hosts.liveness,
            hosts.pending_tasks,
            pools.ha_and_wlb,
            hosts.storage,
            hosts.disk_space,
            pools.server_selection,
            guests.can_evacuate,
            guests.hindrance_of,
            pools.coordinator_restart,
        ),
    ),
    "apply": (
        "XAPI xapi_pool.ml, xapi_host.ml, repository.ml",
        (
            readiness.readiness,
            readiness.refusal_of_apply,
            readiness.refusal_of_enable,
            case.feature_allowed,
            case.is_licensed,
        ),
    ),
    "plan": (
        "all of them together",
        (
            order.in_rolling_order,
            install_order.install_order,
            decide_host,
            decide_pool,
            decide,
            page,
        ),
    ),
}

RULES: Mapping[str, Rule] = {
    rule.name: rule
    for group, (source, functions) in _GROUPS.items()
    for function in functions
    for rule in [Rule(f"{group}.{function.__name__}", source, function)]
}

# The keys are what typing.get_origin makes of an annotation.
_CONCRETE: Mapping[Any, type] = {
    Iterable: tuple,
    Iterator: tuple,
    Collection: tuple,
    Sequence: tuple,
    Mapping: dict,
}


def concrete(kind: Any) -> Any:
    """A type that a value can be made of, for one that says less."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    inner = tuple(one if one is ... else concrete(one) for one in arguments)
    if origin is tuple:
        return types.GenericAlias(tuple, inner)
    made: Any = _CONCRETE.get(origin)
    if made is None:
        return kind
    return made[inner if made is dict else (*inner, ...)]


def find(name: str) -> Rule:
    """Raises NotFoundError for what is no rule."""
    rule = RULES.get(name)
    if rule is None:
        raise NotFoundError(f"no rule {name!r}", hint="lpengine rule lists them all")
    return rule


def ask(name: str, arguments: bytes) -> bytes:
    """The rule's answer, as JSON, to arguments by their names in a JSON object.

    Raises NotFoundError, and InputError for arguments that it does not take.
    """
    rule = find(name)
    try:
        raw = msgspec.json.decode(arguments, type=dict[str, Any])
        answer = rule.function(**dict(converted(rule, raw)))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        hint = f"lpengine rule {name} says what it takes"
        raise InputError(f"{name}: {error}", hint=hint) from None
    return wire.encode(answer)


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule by its name, and the arguments."""

    rule: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


def question(text: bytes) -> Question:
    """Raises InputError for anything else."""
    try:
        return msgspec.json.decode(text, type=Question)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        hint = 'write {"rule": NAME, "arguments": {...}}'
        raise InputError(f"no question: {error}", hint=hint) from None


def converted(rule: Rule, raw: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    arguments = {one.name: one for one in rule.arguments}
    for name in raw:
        if name not in arguments:
            raise ValueError(f"it takes no {name!r}")
    for name, one in arguments.items():
        if name in raw:
            yield name, reading.convert(raw[name], one.kind, name)
        elif one.required:
            raise ValueError(f"it needs {name!r}")
