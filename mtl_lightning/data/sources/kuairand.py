"""KuaiRand (Pure, 1K, 27K): short videos with many kinds of feedback, from the raw files."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from mtl_lightning.data.sources.delimited import Form, read_tables
from mtl_lightning.data.sources.join import replace_column
from mtl_lightning.data.sources.multivalued import as_list
from mtl_lightning.data.sources.raw_log import RawLog, append_columns, declare
from mtl_lightning.interfaces import DataError, RawSchema

PARTS = {"standard": "log_standard_*.csv", "random": "log_random_*.csv"}
LABELS = ("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view", "is_profile_enter")
TIMES = ("play_time_ms", "profile_stay_time", "comment_stay_time")
LOG = dict.fromkeys(
    ("user_id", "video_id", "date", "hourmin", "time_ms", *LABELS, *TIMES, "duration_ms", "is_rand", "tab"), pa.int64()
)
USER_TEXT = ("user_active_degree", "follow_user_num_range", "fans_user_num_range", "friend_user_num_range",
             "register_days_range")  # fmt: skip
USER_FLAGS = ("is_lowactive_period", "is_live_streamer", "is_video_author")
USER_NUMBERS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
ONE_HOT = tuple(f"onehot_feat{n}" for n in range(18))
USERS = (
    {"user_id": pa.int64()}
    | dict.fromkeys(USER_TEXT, pa.string())
    | dict.fromkeys(USER_FLAGS, pa.int64())
    | dict.fromkeys(USER_NUMBERS, pa.float64())
    # Some are written as floats with nulls: 3.0 is read as a number and then converted to a code.
    | dict.fromkeys(ONE_HOT, pa.float64())
)
BASIC = {
    "video_id": pa.int64(),
    "author_id": pa.int64(),
    "video_type": pa.string(),
    "upload_type": pa.string(),
    "visible_status": pa.float64(),
    "video_duration": pa.float64(),
    "music_id": pa.int64(),
    "music_type": pa.float64(),
    "tag": pa.string(),
}
VIDEOS = {name: pa.list_(pa.string()) if name == "tag" else kind for name, kind in BASIC.items()}
LOG_NUMBER = {"kind": "numeric", "transform": "log"}


def _columns() -> dict[str, tuple[pa.DataType, Any]]:
    """Types and suggested features of all columns of the joined log."""
    features: dict[str, Any] = dict.fromkeys(("user_id", "video_id", "tab"), "categorical") | {
        "duration_ms": LOG_NUMBER
    }
    features |= dict.fromkeys((*USER_TEXT, *USER_FLAGS, *ONE_HOT), "categorical")
    features |= dict.fromkeys(USER_NUMBERS, LOG_NUMBER)
    features |= dict.fromkeys(("author_id", "video_type", "upload_type", "music_id"), "categorical")
    features |= {"video_duration": LOG_NUMBER, "tag": {"kind": "sequence", "length": 4}, "hour": "categorical"}
    types = LOG | {"hour": pa.int64()} | USERS | dict.fromkeys(ONE_HOT, pa.int64()) | VIDEOS
    return {name: (kind, features.get(name)) for name, kind in types.items()}


class KuaiRand(RawLog):
    """Source of short videos shown by the production policy or at random, with feedback (Gao et al., 2022).

    - ``is_click`` (seven seconds) and ``long_view`` (eighteen) are functions of ``play_time_ms``, which is therefore
      known only after the event.
    - ``duration_ms`` can be 0; ``tab`` (0 to 14) is the scenario; ``tag`` is a list.
    - Ids differ between the versions.
    - ``statistics`` adds the columns of ``video_features_statistic_*``, named ``statistic_…``. They are computed over
      the whole log, including later days, so they are not features unless a recipe makes them so.

    Args:
        path: Directory ``data`` of one of the versions.
        parts: Logs to read, one after the other: ``standard`` (both periods), ``random``.
        statistics: Join the statistics of videos.

    Raises:
        DataError: If a part is unknown, a file is missing or lacks a column, or a user or video is repeated.

    Example:
        >>> KuaiRand(path="KuaiRand-Pure/data").schema().time
        'time_ms'
    """

    name = "kuairand"
    raw, arrow = declare(
        _columns(),
        {
            "click": {"kind": "binary", "label": "is_click"},
            "like": {"kind": "binary", "label": "is_like"},
            "follow": {"kind": "binary", "label": "is_follow"},
            "long_view": {"kind": "binary", "label": "long_view"},
        },
        time="time_ms",
        group="user_id",
        after_event=(*LABELS, *TIMES),
    )

    def __init__(
        self, *, path: str, parts: tuple[str, ...] | list[str] = ("standard",), statistics: bool = False
    ) -> None:
        super().__init__(path=path)
        for part in parts:
            if part not in PARTS:
                raise DataError(f"source.parts: no part {part!r}", f"there are {', '.join(PARTS)}")
        self.parts, self.statistics = tuple(parts), statistics

    def schema(self) -> RawSchema:
        """Columns, and suggested features and tasks; with statistics, the header of their file is read."""
        if not self.statistics:
            return self.raw
        return replace(self.raw, columns={field.name: str(field.type) for field in self.columns()})

    def columns(self) -> pa.Schema:
        """Columns of the rows, including the statistics."""
        return pa.schema([*self.arrow, *_statistic_schema(self._statistics()[0])]) if self.statistics else self.arrow

    def options(self) -> dict[str, Any]:
        """The parts, and the use of statistics."""
        return {"parts": self.parts, "statistics": self.statistics}

    def logs(self) -> list[Path]:
        """Files of the chosen parts; the 27K version has the standard log in pieces."""
        return [path for part in self.parts for path in self._pieces(PARTS[part])]

    def files(self) -> list[Path]:
        """Logs, users, videos."""
        sides = [self.find("user_features_*.csv"), self.find("video_features_basic_*.csv")]
        return [*self.logs(), *sides, *(self._statistics() if self.statistics else [])]

    def tables(self, split: str | None) -> Iterator[pa.Table]:
        """Read the exposures with the features of user and video."""
        users_path, videos_path = self.find("user_features_*.csv"), self.find("video_features_basic_*.csv")
        users = self.side("users", [users_path], USERS, "user_id", read_tables(users_path, Form(columns=USERS)))
        videos = self.side("videos", [videos_path], VIDEOS, "video_id", _videos(videos_path))
        more = [self._statistic_table()] if self.statistics else []
        for path in self.logs():
            for table in read_tables(path, Form(columns=LOG)):
                for side, key in ((users, "user_id"), (videos, "video_id"), *((extra, "video_id") for extra in more)):
                    table = append_columns(table, side.take(table[key]))
                for name in ONE_HOT:
                    table = replace_column(table, name, table[name].cast(pa.int64()))
                yield table.append_column("hour", pc.divide(table["hourmin"], 100))

    def _pieces(self, name: str) -> list[Path]:
        self.find(name)
        return sorted(self.path.glob(name + "*"))

    def _statistics(self) -> list[Path]:
        """Files of the statistics; several in the 27K version."""
        return self._pieces("video_features_statistic_*.csv")

    def _statistic_table(self) -> Any:
        paths = self._statistics()
        schema = _statistic_schema(paths[0])
        names = [name.removeprefix("statistic_") for name in schema.names]
        form = Form(columns=dict.fromkeys(["video_id", *names], pa.float64()) | {"video_id": pa.int64()})
        tables = (table for path in paths for table in read_tables(path, form))
        renamed = (table.rename_columns(["video_id", *schema.names]) for table in tables)
        kinds = {"video_id": pa.int64()} | dict(zip(schema.names, schema.types, strict=True))
        return self.side("statistics", paths, kinds, "video_id", renamed)


def _statistic_schema(path: Path) -> pa.Schema:
    with pcsv.open_csv(path) as reader:
        return pa.schema([(f"statistic_{name}", pa.float64()) for name in reader.schema.names if name != "video_id"])


def _videos(path: Path) -> Iterator[pa.Table]:
    for table in read_tables(path, Form(columns=BASIC)):
        yield replace_column(table, "tag", as_list(table["tag"], ","))
