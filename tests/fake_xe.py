"""A stand-in for XAPI behind its `xe`, and for `xe-toolstack-restart`: behaves as xapi
does as far as a pool run can tell, over a state in one JSON file, and prints as it
prints (cli_printer.ml, records.ml, xapi_host.ml). It serves on loopback, as xapi does;
the `xe` of its hosts is a program that asks it."""

import json
import os
import socketserver
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
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


def record_text(rows: list[tuple[str, str]]) -> str:
    width = 4 + max(len(name) for name, _ in rows)
    (name, value), *rest = rows
    lines = [f"{name.ljust(width)}: {value}"]
    lines += [f"{name.rjust(width)}: {value}" for name, value in rest]
    return "\n".join(lines) + "\n\n\n"


def list_records(state: State, kind: str, given: Parameters, minimal: bool) -> str:
    wanted = given.pop("params", "uuid,name-label")
    rows = [
        {"uuid": key, **fields}
        for key, fields in state.get(TABLES[kind], {}).items()
        if matches({"uuid": key, **fields}, given)
    ]
    if minimal:
        return ",".join(row["uuid"] for row in rows) + "\n"
    hidden = ("licence", "root", "on-reboot")
    return "".join(
        record_text(
            [
                (tag(name, value), shown(value))
                for name, value in row.items()
                if name in wanted.split(",") or (wanted == "all" and name not in hidden)
            ]
        )
        for row in rows
    )


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
    id = Path(root) / "proc/sys/kernel/random/boot_id"
    id.write_text("-".join(groups) + "\n")
    for path in (Path(root) / "run").rglob("*"):
        if path.is_file():
            path.unlink()


def forget(record: State, task: str) -> None:
    for name in LISTS:
        record[name] = [one for one in record.get(name, []) if one != task]


def restart_toolstack(state: State, root: str) -> None:
    for host in state["hosts"].values():
        if host["root"] == root:
            forget(host, "restart_toolstack")


def prevent_evacuation(state: State, given: Parameters) -> str:
    return "".join(
        record_text(
            [
                ("uuid ( RO)", key),
                ("name-label ( RW)", state["vms"][key]["name-label"]),
                ("reason ( RO)", state["hindered"][key]),
            ]
        )
        for key in residents(state, given["uuid"])
        if key in state["hindered"]
    )


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


def precheck(state: State, given: Parameters) -> str:
    said: str = state["updates"][given["uuid"]]["answers"][given["host-uuid"]]
    if not said.startswith("Ok"):
        refuse(said)
    return f"{said}\n"


def licence(state: State, given: Parameters) -> str:
    fields = state["hosts"][given["host-uuid"]]["licence"]
    return record_text(list(fields.items()))


def synchronise(state: State, given: Parameters) -> None:
    pool(state)["last-update-sync"] = "20991231T00:00:00Z"


COMMANDS: Mapping[str, Callable[[State, Parameters], str | None]] = {
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


def run(state: State, words: list[str]) -> str:
    command, *rest = words
    minimal = "--minimal" in rest
    given = dict(word.split("=", 1) for word in rest if "=" in word)
    kind, _, verb = command.partition("-")
    if verb == "list":
        return list_records(state, kind, given, minimal)
    if verb == "param-set":
        set_parameter(state, kind, given)
    elif command in COMMANDS:
        return COMMANDS[command](state, given) or ""
    else:
        refuse(f"Unknown command: {command}")
    return ""


# What `xe` is on its hosts: bash alone, since a pool is asked for by some twenty calls.
CLIENT = """\
#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/{port}
printf '%s\\0' {words} "$@" >&3
printf '\\0' >&3
read -r status <&3
if [ "$status" = 0 ]; then cat <&3; else cat <&3 >&2; fi
exit "$status"
"""


class FakeXapi:
    """Serves the pool whose state is in the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        fake = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                asked = b""
                while not asked.endswith(b"\0\0"):
                    asked += self.request.recv(1 << 16)
                root, *words = asked[:-2].decode().split("\0")
                status, said = fake.answer(root, words)
                self.wfile.write(f"{status}\n{said}".encode())

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def __enter__(self) -> "FakeXapi":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, root: str, words: list[str]) -> tuple[int, str]:
        """What is refused has changed nothing."""
        with self._guard:
            state = json.loads(self.path.read_text())
            try:
                said = self._act(state, root, words)
            except ApiError as error:
                return 1, f"{error}\n"
            self.path.write_text(json.dumps(state))
            return 0, said

    def _act(self, state: State, root: str, words: list[str]) -> str:
        if not words[0].endswith("-list"):
            state["log"] = [*state.get("log", []), " ".join(words)]
        if words == ["toolstack-restart"]:
            restart_toolstack(state, root)
            return ""
        if state.get("down"):
            refuse("Error: Connection refused (calling connect )")
        return run(state, words)
