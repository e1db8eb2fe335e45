"""Write docs/reference/command-line.md from the command line's own parser.

python scripts/command_reference.py            write the page
python scripts/command_reference.py --check    fail if it is out of date
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from napari_medssl.cli.parser import build_parser

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"

HEAD = """\
# The command line

<!-- Made by scripts/command_reference.py from the parser; change the texts there. -->

`medssl COMMAND --help` prints the same. [Use the shell](../how-to/use-the-shell.md) shows the commands at work;
[events and exit codes](events.md) says what `--json` prints.
"""


def page() -> str:
    """Render the whole page. Not argparse's own help, whose layout changes between Pythons."""
    parser = build_parser()
    commands = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    parts = [HEAD]
    for name, command in commands.choices.items():
        examples = "\n".join(line.strip() for line in (command.epilog or "").splitlines()[1:])
        parts += [
            f"## medssl {name}\n",
            f"```\n{usage(command)}\n```\n",
            f"{command.description}\n",
            table(command),
            f"```\n{examples}\n```\n",
        ]
    return "\n".join(parts)


def usage(command: argparse.ArgumentParser) -> str:
    """Give the synopsis: arguments first, then what is required, then the rest."""
    words = [command.prog]
    actions = [a for a in command._actions if not isinstance(a, argparse._HelpAction)]
    for action in sorted(actions, key=lambda a: (bool(a.option_strings), not a.required)):
        text = " ".join(filter(None, [*action.option_strings[:1], value(action)]))
        words.append(text if action.required else f"[{text}]")
    lines = [words[0]]
    for word in words[1:]:
        if len(lines[-1]) + len(word) > 90:
            lines.append("   ")
        lines[-1] += f" {word}"
    return "\n".join(lines)


def value(action: argparse.Action) -> str:
    """Give the placeholder of an argument's value."""
    if action.nargs == 0:
        return ""
    if action.choices is not None and action.metavar is None:
        return "|".join(map(str, action.choices))
    return f"{action.metavar}{' ...' if action.nargs == '+' else ''}"


def table(command: argparse.ArgumentParser) -> str:
    """Give all arguments with their meaning."""
    rows = ["| argument | meaning |", "|---|---|"]
    for action in command._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        text = " ".join(filter(None, [*action.option_strings[:1], value(action)]))
        escaped = text.replace("|", "\\|")
        rows.append(f"| `{escaped}` | {(action.help or '').replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    check = "--check" in sys.argv[1:]
    if check and PAGE.read_text(encoding="utf-8") != page():
        print(f"{PAGE} is out of date: run python scripts/command_reference.py")
        return 1
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
