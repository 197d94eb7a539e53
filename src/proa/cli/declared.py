"""What a project's pipeline declares now, where its regions have not heard of it yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proa.cli.output import stderr
from proa.errors import ProaError, SettingsError

if TYPE_CHECKING:
    from proa.runtime.declared import DeclaredPipeline
    from proa.settings import ProjectSettings


def declared_now(folder: Path, settings: ProjectSettings, region: str) -> DeclaredPipeline | None:
    """What the project's files declare, when a region's last update ran other files.

    Returns None when the region's own word is as good: the files are the same, it runs another
    pipeline, the project has no pipeline, or the files cannot be read now, which is told.
    """
    from proa.pipelines.spec import find_spec, load_spec, source_files
    from proa.runtime.declared import identity_of, read_declared, text_digest
    from proa.storage import is_url

    place = settings.region(region)
    try:
        path = find_spec(folder)
    except SettingsError:
        return None
    if path.parent != folder or not (is_url(place.storage) or Path(place.storage).is_dir()):
        return None
    try:
        spec = load_spec(path)
        written = read_declared(place.storage, place.options)
        if written is not None and (
            written.identity != identity_of(spec)
            or written.text == text_digest(source_files(spec, folder))
        ):
            return None
        return _declared_by(folder, region)
    except ProaError as error:
        stderr.print(
            f"what the project declares now is not known, so {region} is judged by its last"
            f" update: {error}",
            markup=False,
        )
        return None


def _declared_by(folder: Path, region: str) -> DeclaredPipeline:
    from proa.pipelines.spec import source_files
    from proa.runtime.compile import compile_project
    from proa.runtime.declared import declared_by

    planned = compile_project(folder, region)
    files = source_files(planned.pipeline.spec, planned.pipeline.root)
    return declared_by(planned.graph, planned.pipeline.spec, files)
