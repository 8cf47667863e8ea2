"""The same command line on another machine: what --host does."""

from collections.abc import Sequence
from typing import Any

import click

_ARGUMENTS, _HOST = "lpengine.arguments", "lpengine.host"


class RemoteCommand(click.Command):
    """A verb that works on this machine, or with --host on another one, which must
    have lpengine. Modules are copied there for as long as it takes."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        option = click.Option(
            ["--host"],
            default="local",
            metavar="HOST",
            envvar="LPENGINE_HOST",
            show_envvar=True,
            expose_value=False,
            callback=_remember,
            help="Where TARGET is: ssh://user@host, qemu:NAME (see `lpengine lab`).",
        )
        self.params.insert(_before_json(self.params), option)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        uri = ctx.meta[_HOST]
        if uri == "local":
            return super().invoke(ctx)
        # Most verbs stay here, and then need not know how to reach other machines.
        from lpengine.cli.forwarding import forward

        return forward(uri, [self.name or "", *ctx.meta[_ARGUMENTS]], ctx)


def _before_json(params: Sequence[click.Parameter]) -> int:
    names = [param.name for param in params]
    return names.index("as_json") if "as_json" in names else len(names)


def _remember(ctx: click.Context, _: click.Parameter, uri: str) -> None:
    ctx.meta[_HOST] = uri
