"""The Auto Loader: finds new files, infers and evolves their schema, reads them in the engine."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.autoloader.discovery import FileBacklog
    from proa.autoloader.file_ref import FileRef
    from proa.autoloader.known import KnownFiles
    from proa.autoloader.loader import AutoLoader
    from proa.autoloader.options import Options, parse

__all__ = ["AutoLoader", "FileBacklog", "FileRef", "KnownFiles", "Options", "parse"]

__getattr__ = exports(
    __name__,
    {
        "AutoLoader": "loader",
        "FileBacklog": "discovery",
        "FileRef": "file_ref",
        "KnownFiles": "known",
        "Options": "options",
        "parse": "options",
    },
)
