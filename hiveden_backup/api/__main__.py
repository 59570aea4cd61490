"""`python -m hiveden_backup.api`: what `hiveden-backup serve` becomes."""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Serve until idle; the exit status."""
    parser = argparse.ArgumentParser(prog="hiveden-backup serve")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--program", default="")
    asked = parser.parse_args()
    try:
        from hiveden_backup.api.serve import serve  # noqa: PLC0415 - its libraries may be missing
    except ModuleNotFoundError as error:
        hint = "apt-get install python3-fastapi python3-uvicorn, or pip install 'hiveden-backup[api]'"
        print(f"error: The API needs {error.name}, which is not installed. {hint}", file=sys.stderr)  # noqa: T201 - a command's end
        return 69
    return serve(asked.config, asked.state, asked.program)


if __name__ == "__main__":
    sys.exit(main())
