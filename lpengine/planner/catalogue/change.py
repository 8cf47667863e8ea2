"""CHG: the change itself, seen when two builds of an object are compared."""

from lpengine.planner.catalogue.code import Code
from lpengine.planner.findings import Guidance

CODES = (
    Code(
        "LP-CHG-901",
        "STATIC_LOCAL_LOST",
        summary="A static local that holds state has no twin in the patched build.",
        detection="Static locals of both builds are matched by the instructions that "
        "use them, then by name, size and section.",
        remedy="keep the variable as it is, or carry its value over in a hook",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch: reference to static local variable was removed",
        text="Compilers number static locals, so that the names of two builds do not "
        "say which is which. This one was removed, got another type, or moved to "
        "another function. The new code would begin with a fresh copy, while what the "
        "old one holds is lost. Where that is meant, declare a hook for it by name.",
    ),
    Code(
        "LP-CHG-902",
        "PER_CPU_DATA_ADDED",
        summary="The fix adds storage of its own for each CPU or thread.",
        detection="Sections of per-CPU and thread-local data of both builds are "
        "compared.",
        remedy="use an array indexed by CPU, or one variable",
        guidance=Guidance.REBOOT_HOST,
        source="Xen and Linux module loaders: per-CPU areas are laid out at boot",
        text="The areas of all CPUs were laid out when the machine booted. Neither "
        "loader can give a patch room in them: the new code would address what lies "
        "behind, on every CPU. An array with one element a CPU does the same job.",
    ),
    Code(
        "LP-CHG-903",
        "ASSEMBLY_CHANGED",
        summary="Code changed that a patch cannot take the place of.",
        detection="Code that no function symbol of a known size covers, and sections "
        "of entry code, are compared.",
        remedy="boot the fixed build",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch and livepatch-build-tools: changed .text of assembly objects",
        text="Functions in C are entered by a call and left by a return. Assembly, "
        "entry paths above all, has labels that others jump to and runs before there "
        "is a stack. Where no function begins there is nothing to redirect. A tool "
        "that leaves this half of a fix out makes a patch that looks applied.",
    ),
    Code(
        "LP-CHG-904",
        "PROTOTYPE_CHANGED",
        summary="A function that others call takes or returns something else.",
        detection="Debug information of both builds is compared: parameters and "
        "results of all functions with callers elsewhere.",
        remedy="keep the function and add one under a new name",
        guidance=Guidance.REBOOT_HOST,
        source="by design: callers that are not patched keep calling the old way",
        text="Old callers put arguments where the old function looks for them. Where "
        "all callers are in the same patch, give all their objects at once; where "
        "modules may call it too, keep the old function beside the new one.",
    ),
    Code(
        "LP-CHG-905",
        "INLINED_ELSEWHERE",
        summary="A changed function has copies in objects that were not rebuilt.",
        detection="Debug information tells which functions of headers were inlined "
        "into which objects; each of them must have changed.",
        remedy="give all objects that include the header",
        guidance=Guidance.REBOOT_HOST,
        source="by design: an inlined function has a copy in each caller",
        text="The fix is in a function of a header that compilers put into the code of "
        "its callers. Each object that includes it has copies of its own, which stay "
        "as they are unless the object is rebuilt and made part of the patch.",
    ),
    Code(
        "LP-CHG-906",
        "SECTION_UNKNOWN",
        summary="Changed code has records in a section that is not known here.",
        detection="Every allocated section that refers into changed code must be of "
        "a known kind, with records of a known size.",
        remedy="have the section taught to the differ; until then boot the fixed build",
        guidance=Guidance.REBOOT_HOST,
        source="kpatch issues 107, 265, 1165: each new special section broke patches",
        text="Hypervisor and kernel keep tables about places in code: exceptions, "
        "alternatives, bug frames. A replaced function needs its records again. This "
        "section looks like such a table, and what it is for is not known, so a patch "
        "without it might work by accident only.",
    ),
    Code(
        "LP-CHG-907",
        "OBJECT_NOT_COMPARABLE",
        summary="An object exists in one build only, or is of a kind that cannot be "
        "compared.",
        detection="Objects are paired by their path; each must be a relocatable "
        "64-bit x86 file with machine code, both from the compiler that .comment "
        "names.",
        remedy="give both builds of every object that the fix touches",
        guidance=Guidance.REBOOT_HOST,
        source="the differ itself: what it cannot read counts as changed",
        text="Some objects are not live patched by any means: 16 and 32-bit boot "
        "code, linked files, archives. As long as both builds are the same to the "
        "byte they do not matter. This one differs, or has no twin. Objects for link "
        "time optimization (-flto) have no code before they are linked, and two "
        "compilers make two things of every function.",
    ),
    Code(
        "LP-CHG-908",
        "BUILD_CHANGED",
        summary="The fix, or the kernel, is built in a way that single objects do not "
        "tell of.",
        detection="The files of a fix are told apart by what a build makes of them; "
        "the configuration by whether objects have code of their own.",
        remedy="leave the file out where it does not matter for the fix's code",
        guidance=Guidance.REBOOT_HOST,
        source="Linux Documentation/kbuild: makefiles.rst, kconfig.rst",
        text="Makefiles and Kconfig change what is compiled, and with which flags; "
        "tables and scripts are inputs of programs that write C. What comes of that "
        "may be anywhere in the kernel, and a live patch that carries the C of a fix "
        "alone would carry half of it. With link time optimization no object has code "
        "that could be compared. Where a fix only adds a test or a document by the "
        "way, leave that part out.",
    ),
)
