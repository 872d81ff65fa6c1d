"""The command that loads an endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from groundplan.cli.models import PANEL
from groundplan.cli.options import AsJson, Stack
from spec.errors import UsageError

if TYPE_CHECKING:
    from groundplan.loadtest.arrivals import Measured
    from groundplan.loadtest.run import Result

commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
def loadtest(
    endpoint: Annotated[
        str, typer.Argument(metavar="ENDPOINT", help="A model that the local platform serves, or an http:// address.")
    ],
    body: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON to send. Default: the example in the endpoint's OpenAPI document."),
    ] = None,
    within_ms: Annotated[
        float, typer.Option("--within", metavar="MS", help="Time for 95 % of the answers. Default: the objective's.")
    ] = 0,
    rate: Annotated[
        float, typer.Option(metavar="N", help="Requests a second. Default: find the highest rate that is in time.")
    ] = 0,
    seconds: Annotated[float, typer.Option(metavar="S", help="How long each rate is kept up.")] = 3,
    write: Annotated[
        bool, typer.Option("--write", help="Record the time of a request in the stack's file, for the design.")
    ] = False,
    stack: Stack = "local",
    as_json: AsJson = False,
) -> None:
    """Load an endpoint with requests that arrive at random, and find the highest rate that it answers in time.

    Each time is counted from when a request was to arrive, so that a server that falls behind is seen. Exit code 1 if
    the rate, or no rate, is in time.
    """
    from groundplan.loadtest.run import example_body, load_test

    url, model, limit = _target(endpoint, stack)
    limit = within_ms or limit
    if not limit:
        raise UsageError("an address has no objective", where=endpoint, fix="name the time for an answer: --within 100")
    if write and not model:
        raise UsageError("an address is no model of a stack", where="--write", fix="name the model instead")
    if body is not None and not body.is_file():
        raise UsageError("no such file", where=str(body))
    content = body.read_bytes() if body is not None else example_body(url)
    found = load_test(url, content, limit, seconds, rate, (lambda *_: None) if as_json else _show)
    if as_json:
        print(json.dumps(found.document(), indent=1))
    else:
        _print(found)
    if write:
        from groundplan.local.home import find_home
        from spec.objectives.reading import stack_file
        from spec.objectives.writing import record

        path = stack_file(find_home().root, stack)
        record(path, ("models", model), {"service_ms": found.alone_ms}, "groundplan loadtest")
        if not as_json:
            print(f"recorded      models.{model}.service_ms in {path.name}; groundplan explain shows what follows")
    raise typer.Exit(0 if found.highest else 1)


def _target(endpoint: str, stack: str) -> tuple[str, str, float]:
    """Address, model (empty for an address), and the objective's time in ms (0 for an address)."""
    if endpoint.startswith("http://"):
        return endpoint, "", 0.0
    if "://" in endpoint:
        raise UsageError("only http:// addresses are loaded", where=endpoint)
    from groundplan.local.home import find_home
    from spec.objectives.reading import load
    from spec.outputs import read

    home = find_home()
    config = load(home.root, stack)
    state = home.load()
    if state is None:
        raise UsageError("the local platform does not run", where=endpoint, fix="groundplan up")
    if endpoint not in config.objectives.models:
        known = ", ".join(config.objectives.models)
        raise UsageError(f"stack {stack} has no model {endpoint!r}", where="ENDPOINT", fix=f"one of: {known}")
    served = read(str(home.outputs_file)).endpoints.get(endpoint)
    if served is None or not served.name:
        raise UsageError("has no endpoint on this machine", where=endpoint, fix="name an http:// address")
    url = f"{state.services['router'].url}/endpoints/{served.name}/invocations"
    return url, endpoint, config.objectives.models[endpoint].latency_ms


def _show(found: Measured, held: bool) -> None:
    from groundplan.loadtest.run import LATE_MS

    errors = "; ".join(f"{count} x {what}" for what, count in found.errors.items())
    behind = f"  (this client was {found.late_ms:.0f} ms late)" if found.late_ms > LATE_MS else ""
    print(
        f"{found.rate:10,.0f} a second   p50 {found.p50_ms:8.1f} ms   p95 {found.p95_ms:8.1f} ms   p99"
        f" {found.p99_ms:8.1f} ms   {'in time' if held else 'not in time'}{f'  {errors}' if errors else ''}{behind}"
    )


def _print(found: Result) -> None:
    from groundplan.loadtest.run import LATE_MS

    if found.highest:
        told = f"{found.highest:,.0f} requests a second, 95 % of them within {found.within_ms:g} ms"
    else:
        told = f"no rate that was tried is answered within {found.within_ms:g} ms"
    print(f"\nhighest rate  {told}")
    print(f"one request   {found.alone_ms:.2f} ms, when there is no other")
    if any(one.late_ms > LATE_MS for one, _ in found.tried):
        print("              where this client was late, the endpoint may answer more than was measured")
