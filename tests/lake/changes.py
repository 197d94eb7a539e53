"""Changes of a table, made up: files that nobody reads."""

from proa.lake import Change, DataFile


def data_file(path: str, rows: int = 1) -> DataFile:
    return DataFile(path, 10, rows, {}, f'{{"numRecords":{rows}}}', 1)


def append(batch: int, *paths: str, flow: str = "f", attempt: str = "a", generation: int = 0):
    return Change(
        f"proa:{flow}:{generation}",
        batch,
        attempt,
        generation,
        adds=[data_file(path) for path in paths],
        metadata={"flow": flow},
    )
