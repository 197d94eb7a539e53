"""Writes the repository's `infra/`: the packaged Terraform tree for the seed. `make docs` runs it.

The notebooks in `module/notebooks` are the seed's own and stay as they are. What stands in a
`terraform.tfvars` is written anew too: here it is nobody's.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from proa.infra import RegionRoot, Tree, write

FOLDER = Path(__file__).parents[1] / "infra"
NOTE = (
    "<!-- Written by `make docs` from src/proa/infra, for two regions and the notebooks here. -->"
)
SEED = Tree(
    pipeline="pipeline",
    source=None,
    notebooks=("notebook1.py", "notebook2.py"),
    regions=(
        RegionRoot("us-east", "http://127.0.0.1:8101", "s3://us-east/landing", "s3://us-east/dlt/"),
        RegionRoot("us-west", "http://127.0.0.1:8102", "s3://us-west/landing", "s3://us-west/dlt/"),
    ),
    active="us-east",
    target="pipeline",
)


def seed_files() -> dict[str, str]:
    """Every generated file's text, by its path below `infra/`."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(SEED, folder)
        texts = {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    texts["README.md"] = f"{NOTE}\n\n{texts['README.md']}"
    return texts


def main() -> None:
    for name, text in seed_files().items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote infra/{name}")


if __name__ == "__main__":
    main()
