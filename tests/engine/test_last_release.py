"""The next update of users starts from what they have deployed of the last release."""

from __future__ import annotations

import json
import re

import pytest

from tests.engine import keep_state
from tests.engine.conftest import MISSING, running, types
from tests.engine.test_changes import DATA, lost

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        bool(MISSING), reason=f"the Pulumi CLI is not on the PATH: no {', '.join(MISSING)}; see `make pulumi`"
    ),
]


def test_nothing_that_holds_data_is_replaced_in_a_stack_of_the_last_release(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("release")
    state = keep_state.read()
    made = {
        item["urn"]
        for item in state["deployment"]["resources"]
        if item.get("custom") and item["type"].startswith("aws:")
    }
    assert len(made) > 200 and types(made) > DATA & types(made) != set()
    with running(folder) as cli:
        cli.stack("dev")
        (folder / "state.json").write_text(
            re.sub(rf"(?<!\w){keep_state.PROJECT}\b", str(cli.project), json.dumps(state)), encoding="utf-8"
        )
        cli.good("stack", "import", "-s", "dev", "--file", str(folder / "state.json"))
        planned = cli.planned("-s", "dev")
    # That release gave each stack the stores of every sample; the stack names one model, and loses the other's.
    gone = {urn for urn in lost(planned) if not re.search("flight|plane|weather", urn.rpartition("::")[2])}
    assert not types(gone) & DATA, planned
    # A release's update changes something, but not everything.
    assert len(set().union(*planned.values())) < len(made) / 2, planned
