"""A stand-in for XAPI's `xe`, and for `xe-toolstack-restart`: behaves as xapi does as
far as a pool run can tell, over a state in one JSON file, and prints as it prints
(cli_printer.ml, records.ml, xapi_host.ml). It needs nothing but the standard library:
it runs as a program of the host."""

from __future__ import annotations

import fcntl
import json
import os
import sys

# A pool is asked for by some twenty calls: what is imported counts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    State = dict[str, Any]
    Parameters = dict[str, str]

LISTS = ("pending-guidances", "pending-guidances-recommended", "pending-guidances-full")
CLEARED_BY_BOOT = (
    "reboot_host",
    "reboot_host_on_livepatch_failure",
    "reboot_host_on_xen_livepatch_failure",
    "reboot_host_on_kernel_livepatch_failure",
)
TABLES = {
    "pool": "pools",
    "host": "hosts",
    "vm": "vms",
    "vbd": "vbds",
    "vdi": "vdis",
    "sr": "srs",
    "pbd": "pbds",
    "update": "updates",
}
MAPS = ("other-config", "software-version")
WRITABLE = ("name-label", "other-config", "live-patching-disabled", "wlb-enabled")


class ApiError(Exception):
    """What xe prints to standard error, and exits with 1."""


def act(path: str, deed: Callable[[State], None]) -> None:
    """On the state, which is written back unless it ends in an error."""
    with open(f"{path}.lock", "w") as lock:  # noqa: PTH123
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(path) as file:  # noqa: PTH123
            before = file.read()
        state = json.loads(before)
        deed(state)
        after = json.dumps(state)
        if after != before:
            with open(f"{path}.new", "w") as file:  # noqa: PTH123
                file.write(after)
            os.replace(f"{path}.new", path)  # noqa: PTH105


def refuse(message: str) -> NoReturn:
    raise ApiError(message)


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{key}: {shown(each)}" for key, each in value.items())
    return str(value)


def tag(name: str, value: Any) -> str:
    kind = "M" if name in MAPS else "S" if isinstance(value, list) else " "
    return f"{name} ({kind}{'RW' if name in WRITABLE else 'RO'})"


def print_record(rows: list[tuple[str, str]]) -> None:
    width = 4 + max(len(name) for name, _ in rows)
    (name, value), *rest = rows
    print(f"{name.ljust(width)}: {value}")
    for name, value in rest:
        print(f"{name.rjust(width)}: {value}")
    print("\n")


def list_records(state: State, kind: str, given: Parameters, minimal: bool) -> None:
    wanted = given.pop("params", "uuid,name-label")
    rows = [
        {"uuid": key, **fields}
        for key, fields in state.get(TABLES[kind], {}).items()
        if matches({"uuid": key, **fields}, given)
    ]
    if minimal:
        print(",".join(row["uuid"] for row in rows))
        return
    for row in rows:
        names = [n for n in row if n in wanted.split(",") or wanted == "all"]
        print_record([(tag(n, row[n]), shown(row[n])) for n in names if n != "licence"])


def matches(row: Mapping[str, Any], given: Parameters) -> bool:
    absent = {"is-a-snapshot": False}
    return all(shown(row.get(k, absent.get(k, ""))) == v for k, v in given.items())


def set_parameter(state: State, kind: str, given: Parameters) -> None:
    record = state[TABLES[kind]][given.pop("uuid")]
    for name, value in given.items():
        field, colon, key = name.partition(":")
        if colon:
            record[field][key] = value
        else:
            record[field] = {"true": True, "false": False}.get(value, value)


def residents(state: State, host: str) -> list[str]:
    return [
        key
        for key, vm in state["vms"].items()
        if vm["resident-on"] == host
        and not vm.get("is-control-domain")
        and vm["power-state"] in ("running", "paused")
    ]


def host_of(given: Parameters) -> str:
    return given.get("uuid") or given.get("host-uuid") or ""


def disable(state: State, given: Parameters) -> None:
    state["hosts"][host_of(given)]["enabled"] = False


def enable(state: State, given: Parameters) -> None:
    host = state["hosts"][host_of(given)]
    if host.get(LISTS[0]):
        refuse(
            "The host has pending mandatory guidances.\n"
            f"host: {host_of(given)} ({host['name-label']})"
        )
    host["enabled"] = True


def evacuate(state: State, given: Parameters) -> None:
    here = host_of(given)
    others = [
        key
        for key, host in state["hosts"].items()
        if key != here and host["enabled"] and host["host-metrics-live"]
    ]
    if state["hosts"][here]["enabled"]:
        refuse("The specified host is still enabled.")
    for key in residents(state, here):
        if key in state["hindered"]:
            refuse(f"You attempted an operation that cannot be done on VM {key}")
        if not others:
            refuse("There are no servers available to complete the operation.")
        state["vms"][key]["resident-on"] = others[0]
        forget(state["vms"][key], "restart_device_model")


def reboot(state: State, given: Parameters) -> None:
    import subprocess

    here = host_of(given)
    host = state["hosts"][here]
    if host["enabled"]:
        refuse("The specified host is still enabled.")
    if residents(state, here):
        refuse("This operation cannot be completed: the host still has active VMs.")
    boot(host["root"])
    host["updates-requiring-reboot"] = []
    if host.get("on-reboot"):
        subprocess.run(host["on-reboot"], check=True, stdout=subprocess.DEVNULL)
    for task in ("restart_toolstack", *CLEARED_BY_BOOT):
        forget(host, task)


def boot(root: str) -> None:
    """What a boot does to a host's files: a new id, and nothing left in /run."""
    new = os.urandom(16).hex()
    groups = (new[:8], new[8:12], new[12:16], new[16:20], new[20:])
    with open(f"{root}/proc/sys/kernel/random/boot_id", "w") as file:  # noqa: PTH123
        file.write("-".join(groups) + "\n")
    for directory, _, names in os.walk(f"{root}/run"):
        for name in names:
            os.unlink(f"{directory}/{name}")  # noqa: PTH108


def forget(record: State, task: str) -> None:
    for name in LISTS:
        record[name] = [one for one in record.get(name, []) if one != task]


def restart_toolstack(state: State, root: str) -> None:
    for host in state["hosts"].values():
        if host["root"] == root:
            forget(host, "restart_toolstack")


def prevent_evacuation(state: State, given: Parameters) -> None:
    for key in residents(state, given["uuid"]):
        if key in state["hindered"]:
            label = state["vms"][key]["name-label"]
            rows = [("uuid ( RO)", key), ("name-label ( RW)", label)]
            print_record([*rows, ("reason ( RO)", state["hindered"][key])])


def ha_disable(state: State, given: Parameters) -> None:
    pool(state).update({"ha-enabled": False, "ha-statefiles": []})


def ha_enable(state: State, given: Parameters) -> None:
    chosen = given.get("heartbeat-sr-uuids", "").split(",")
    for repository in chosen:
        if repository not in state["srs"]:
            refuse(f"The uuid you supplied was invalid.\ntype: SR\nuuid: {repository}")
        state["vdis"][f"heartbeat-{repository}"] = {
            "sr-uuid": repository,
            "is-tools-iso": False,
        }
    names = [f"heartbeat-{repository}" for repository in chosen]
    pool(state).update({"ha-enabled": True, "ha-statefiles": names})


def pool(state: State) -> State:
    (found,) = state["pools"].values()
    return found


def migrate(state: State, given: Parameters) -> None:
    host = state["hosts"][given["host-uuid"]]
    if not host["enabled"]:
        refuse("The specified host is disabled.")
    vm = state["vms"][given["uuid"]]
    vm["resident-on"] = given["host-uuid"]
    forget(vm, "restart_device_model")


def restart_device_models(state: State, given: Parameters) -> None:
    forget(state["vms"][given["uuid"]], "restart_device_model")


def plug(state: State, given: Parameters) -> None:
    connection = state["pbds"][given["uuid"]]
    if connection.get("broken"):
        refuse("There was an SR backend failure.\nstatus: non-zero exit")
    connection["currently-attached"] = True


def change_power(power: str) -> Callable[[State, Parameters], None]:
    def change(state: State, given: Parameters) -> None:
        vm = state["vms"][given["uuid"]]
        vm["power-state"] = power
        vm["resident-on"] = given.get("on", vm["resident-on"] if power else "")
        forget(vm, "restart_device_model")
        if power == "halted":
            forget(vm, "restart_vm")

    return change


def restart_vm(state: State, given: Parameters) -> None:
    for task in ("restart_device_model", "restart_vm"):
        forget(state["vms"][given["uuid"]], task)


def eject(state: State, given: Parameters) -> None:
    for drive in state["vbds"].values():
        if drive["vm-uuid"] == given["uuid"] and drive["type"] == "CD":
            drive.update({"vdi-uuid": "", "empty": True})


def precheck(state: State, given: Parameters) -> None:
    said = state["updates"][given["uuid"]]["answers"][given["host-uuid"]]
    if not said.startswith("Ok"):
        refuse(said)
    print(said)


def licence(state: State, given: Parameters) -> None:
    fields = state["hosts"][given["host-uuid"]]["licence"]
    print_record(list(fields.items()))


def synchronise(state: State, given: Parameters) -> None:
    pool(state)["last-update-sync"] = "20991231T00:00:00Z"


COMMANDS: Mapping[str, Callable[[State, Parameters], None]] = {
    "host-disable": disable,
    "host-enable": enable,
    "host-evacuate": evacuate,
    "host-reboot": reboot,
    "host-license-view": licence,
    "host-get-vms-which-prevent-evacuation": prevent_evacuation,
    "pool-ha-disable": ha_disable,
    "pool-ha-enable": ha_enable,
    "pool-sync-updates": synchronise,
    "pbd-plug": plug,
    "vm-suspend": change_power("suspended"),
    "vm-resume": change_power("running"),
    "vm-shutdown": change_power("halted"),
    "vm-start": change_power("running"),
    "vm-reboot": restart_vm,
    "vm-migrate": migrate,
    "vm-restart-device-models": restart_device_models,
    "vm-cd-eject": eject,
    "update-precheck": precheck,
}


def run(state: State, words: list[str]) -> None:
    command, *rest = words
    minimal = "--minimal" in rest
    given = dict(word.split("=", 1) for word in rest if "=" in word)
    kind, _, verb = command.partition("-")
    if verb == "list":
        list_records(state, kind, given, minimal)
    elif verb == "param-set":
        set_parameter(state, kind, given)
    elif command in COMMANDS:
        COMMANDS[command](state, given)
    else:
        refuse(f"Unknown command: {command}")


def main(path: str, root: str, words: list[str]) -> int:
    def deed(state: State) -> None:
        if words == ["toolstack-restart"]:
            restart_toolstack(state, root)
        elif state.get("down"):
            refuse("Error: Connection refused (calling connect )")
        else:
            run(state, words)
        if not words[0].endswith("-list"):
            state["log"] = [*state.get("log", []), " ".join(words)]

    try:
        act(path, deed)
    except ApiError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
