"""Open Bandit: fashion recommendations by two policies in three campaigns, with propensities."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from mtl_lightning.data.cache.fetch import Wheel
from mtl_lightning.data.readers.files import reading
from mtl_lightning.data.sources.join import join
from mtl_lightning.data.sources.wheel_source import WheelSource
from mtl_lightning.interfaces import DataError, RawSchema

POLICIES, CAMPAIGNS = ("bts", "random"), ("all", "men", "women")
USER = {f"user_feature_{n}": pa.string() for n in range(4)}
ITEM = {"item_feature_0": pa.float64()} | {f"item_feature_{n}": pa.string() for n in range(1, 4)}
COLUMNS = {
    "timestamp": pa.timestamp("us", tz="UTC"),
    "campaign": pa.string(),
    "item_id": pa.string(),
    "position": pa.int64(),
    **USER,
    **ITEM,
    "affinity": pa.float64(),
    "affinity_total": pa.float64(),
    "propensity_score": pa.float64(),
    "click": pa.int8(),
}
AFFINITY = "user-item_affinity_"
"""Prefix of the raw columns with the user's affinity to each item."""


class OpenBandit(WheelSource):
    """Source of 60,000 exposures of a fashion site with clicks (0.4 to 0.7 %), in three campaigns (Saito et al., 2021).

    - ``item_id`` is the campaign and the raw number (``men-14``), because numbers restart in each campaign.
    - ``affinity`` is the user's affinity to the shown item; the raw file has a column per item.
    - ``affinity_total`` is the sum of these columns.
    - ``propensity_score`` is the probability with which the policy showed the item: a weight, not a feature.
    - Hashed features are text.

    Args:
        policy: ``random`` or ``bts`` (Bernoulli Thompson sampling).
        campaigns: Any of ``all``, ``men`` and ``women``.
        fetch: Download missing files when rows are read.

    Raises:
        DataError: If the set is not in the cache, or a policy or campaign is unknown.

    Example:
        >>> OpenBandit(policy="bts", campaigns=["men"]).schema().time
        'timestamp'
    """

    name = "open_bandit"
    wheel = Wheel(
        distribution="obp",
        version="0.4.1",
        sha256="87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208",
        members={
            f"{policy}-{campaign}-{part}.csv": f"obp/dataset/obd/{policy}/{campaign}/{member}.csv"
            for policy in POLICIES
            for campaign in CAMPAIGNS
            for part, member in (("log", campaign), ("items", "item_context"))
        },
    )
    raw = RawSchema(
        columns={name: str(kind) for name, kind in COLUMNS.items()},
        features={
            name: "numeric" if kind == pa.float64() else "categorical"
            for name, kind in COLUMNS.items()
            if name not in ("timestamp", "propensity_score", "click")
        },
        tasks={"click": {"kind": "binary", "label": "click"}},
        time="timestamp",
        after_event=("click", "propensity_score"),
    )

    def __init__(
        self, *, policy: str = "random", campaigns: tuple[str, ...] | list[str] = CAMPAIGNS, fetch: bool = False
    ) -> None:
        super().__init__(fetch=fetch)
        if policy not in POLICIES:
            raise DataError(f"source.policy: no policy {policy!r}", f"there are {', '.join(POLICIES)}")
        for campaign in campaigns:
            if campaign not in CAMPAIGNS:
                raise DataError(f"source.campaigns: no campaign {campaign!r}", f"there are {', '.join(CAMPAIGNS)}")
        self.policy, self.campaigns = policy, tuple(campaigns)

    def table(self) -> pa.Table:
        """Read the exposures with their item's features, campaign after campaign."""
        return pa.concat_tables([self._campaign(campaign) for campaign in self.campaigns])

    def fingerprint(self) -> str:
        """Digest of the wheel, the code, the policy and the campaigns."""
        return "-".join([super().fingerprint(), self.policy, *self.campaigns])

    def _campaign(self, campaign: str) -> pa.Table:
        path = self.file(f"{self.policy}-{campaign}-log.csv")
        types = pcsv.ConvertOptions(column_types={**USER, "click": pa.int8(), "timestamp": pa.string()})
        with reading(str(path)):
            log = pcsv.read_csv(path, convert_options=types)
        items_path = self.file(f"{self.policy}-{campaign}-items.csv")
        with reading(str(items_path)):
            items = pcsv.read_csv(items_path, convert_options=pcsv.ConvertOptions(column_types=ITEM))
        affinities = [name for name in log.column_names if name.startswith(AFFINITY)]
        shown = total = pa.scalar(0.0)
        for name in affinities:
            value = log[name].cast(pa.float64())
            total = pc.add(total, value)
            item = int(name.removeprefix(AFFINITY))
            shown = pc.add(shown, pc.if_else(pc.equal(log["item_id"], item), value, 0.0))
        log = join(log, items.select(["item_id", *ITEM]), "item_id")
        log = log.append_column("campaign", pa.repeat(pa.scalar(campaign), log.num_rows))
        item_id = pc.binary_join_element_wise(campaign, log["item_id"].cast(pa.string()), "-")
        log = log.set_column(log.column_names.index("item_id"), "item_id", item_id)
        log = log.append_column("affinity", shown).append_column("affinity_total", total)
        # The raw text ends with +00:00, with or without a fraction of the second.
        time = log.column_names.index("timestamp")
        log = log.set_column(time, "timestamp", log["timestamp"].cast(COLUMNS["timestamp"]))
        return log.select(list(COLUMNS)).cast(pa.schema(list(COLUMNS.items())))
