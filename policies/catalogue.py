"""The pack's controls as a page: ``python -m policies.catalogue > docs/controls.md``."""

from __future__ import annotations

import sys

from policies.controls import CONTROLS
from policies.frameworks import REQUIREMENTS

_HEADER = """\
# The policy pack's controls
Made by `make docs`; changes are lost.

{count} controls in {families} families, {remedies} with a remedy that Pulumi can apply by itself (enforcement level
`remediate`). A critical control is always mandatory; another one where a regime of the stack (`compliance:` in its
objectives) asks for it; the rest advise. Controls marked with * hold for production only.
A finding that somebody answers for is waived in the stack file, until a day:

```yaml
config:
  groundplan:waivers:
    - policy: secret-rotates
      resource: secrets-masking-key     # a name, or a pattern such as lake-*; `stack` for one about the whole stack
      reason: tokens made with another key no longer join with those that are there
      approver: legal@example.com
      expires: "2027-11-30"
```

The pack is an ordinary one: `pulumi up --policy-pack policies`. `groundplan review` asks it offline.
"""


def page() -> str:
    """Markdown: a table a family, then which rules of each framework are checked by which controls."""
    families = list(dict.fromkeys(control.family for control in CONTROLS.values()))
    remedies = sum(control.remedy is not None for control in CONTROLS.values())
    out = [_HEADER.format(count=len(CONTROLS), families=len(families), remedies=remedies)]
    for family in families:
        out += [
            f"## {family[0].upper()}{family[1:]}",
            "| control | severity | says | what to do | law |",
            "|---|---|---|---|---|",
        ]
        for control in CONTROLS.values():
            if control.family == family:
                mark = "*" if control.production else ""
                law = ", ".join(control.law)
                out.append(
                    f"| [`{control.id}`]({control.url}){mark} | {control.severity} | {control.title} |"
                    f" {control.remediation} | {law} |"
                )
        out.append("")
    out += ["## By framework", "| rule | asks for | controls | by people |", "|---|---|---|---|"]
    for rules in REQUIREMENTS.values():
        for rule in rules:
            named = ", ".join(f"`{control.id}`" for control in CONTROLS.values() if rule.reference in control.law)
            people = f"{rule.people} ({rule.who}, {rule.every})" if rule.people else ""
            out.append(f"| {rule.reference} | {rule.text} | {named or 'none'} | {people} |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
