"""How long `lpengine lab test` takes from nothing to a verdict, for both kinds, and
where the time goes. Builds the module by itself, from fetched packages."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lpengine.hosts import lab

XEN = 'const char *xen_extra_version(void) { return "+lab"; }\n'
LINUX = """\
struct seq_file;
extern void seq_puts(struct seq_file *, const char *);
int cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "lab\\n");
	return 0;
}
"""
CASES = {
    "xen": (XEN, "xen_extra_version", "cat /sys/hypervisor/version/extra"),
    "linux": (LINUX, "cmdline_proc_show", "cat /proc/cmdline"),
}


def lpengine(*arguments: str | Path) -> bytes:
    argv = [sys.executable, "-m", "lpengine", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, check=False, timeout=900)
    if done.returncode not in (0, 20):
        sys.exit(f"{argv}: {done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout


def build(kind: str, directory: Path) -> Path:
    stock = lab.fetch(kind)
    text, function, _ = CASES[kind]
    source = directory / f"bench_{kind}.c"
    source.write_text(text)
    output = source.with_suffix(".livepatch" if kind == "xen" else ".ko")
    image = stock.symbols or stock.kernel
    lpengine(
        "build", "c", source, "--replace", function, "--image", image, "-o", output
    )
    return output


def measure(kind: str, directory: Path) -> None:
    module = build(kind, directory)
    begun = time.monotonic()
    said = lpengine("lab", "test", module, "--check", CASES[kind][2], "--json")
    whole = time.monotonic() - begun
    document = json.loads(said)
    print(f"{kind:6} {document['verdict']}: {whole:.1f} s from nothing to the verdict")
    print(f"       {document['boot_seconds']:6.1f} s  boot")
    for step in document["steps"]:
        print(f"       {step['seconds']:6.2f} s  {step['what']}")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for kind in sys.argv[1:] or lab.KINDS:
            measure(kind, Path(scratch))


if __name__ == "__main__":
    main()
