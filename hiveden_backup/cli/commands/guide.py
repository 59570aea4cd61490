"""`guide`: what there is to read beyond the README, on this machine, without a network and without a configuration."""

from typing import Optional

import typer

from hiveden_backup.cli import completion, output
from hiveden_backup.cli.app import command
from hiveden_backup.cli.parameters import JSON
from hiveden_backup.core.errors import NotFoundError
from hiveden_backup.host import guides


@command("guide")
def guide(
    topic: Optional[str] = typer.Argument(
        None, metavar="[TOPIC]", help="What to read; the topics when none is given.", autocompletion=completion.guides
    ),
    as_json: bool = JSON,
) -> None:
    """Print one of the guides.

    They are on this machine: no network is needed, and no configuration.
    """
    known = guides.topics()
    if topic is None:
        if as_json:
            output.print_json([{"topic": name, "about": about} for name, about in known.items()])
        else:
            output.print_table(("TOPIC", "ABOUT"), list(known.items()))
        return
    if topic not in known:
        raise NotFoundError(f"There is no guide {topic}", f"There are: {', '.join(known)}", "Name one of these")
    if as_json:
        output.print_json({"topic": topic, "about": known[topic], "text": guides.guide(topic)})
    else:
        output.say_raw(guides.guide(topic))
