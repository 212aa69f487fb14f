"""Raw files of logs of shops, ads and of a census, the first rows with every quirk."""

import gzip
import random
import zipfile

from raw_lines import ROWS, lines


def ali_ccp(path):
    draw = random.Random(0)

    def features(pairs):
        pieces = (f"{field}\x02{value}" for field, value in pairs)  # a value may bring its weight
        return "\x01".join(piece if "\x03" in piece else f"{piece}\x031.0" for piece in pieces)

    for split in ("train", "test"):
        common = [
            (
                "c0",
                5,
                features([("101", "u1"), ("121", "9"), ("109_14", "a\x030.5"), ("109_14", "b\x032.25"), ("999", "z")]),
            ),
            (
                "c1",
                6,
                features(
                    [("101", "u2"), ("110_14", "s"), ("110_14", "t"), ("127_14", "b"), ("150_14", "n"), ("150_14", "m")]
                ),
            ),
        ]
        rows = [
            ("1", 1, 1, "c0", 3, features([("205", "i1"), ("853", "x"), ("853", "y")])),
            ("2", 0, 1, "c0", 1, features([("205", "i2")])),  # bought without a click
            ("3", 0, 0, "c9", 1, features([("206", "k")])),  # no such common features
        ]
        for n in range(ROWS):
            click = draw.random() < 0.4
            buy = click and draw.random() < 0.4
            own = features([("205", f"i{n % 9}"), ("210", f"t{n % 4}"), ("210", f"t{n % 5}"), ("301", n % 3)])
            rows.append((n + 4, int(click), int(buy), f"c{n % 2}", 4, own))
        lines(path / f"sample_skeleton_{split}.csv", rows, ",")
        lines(path / f"common_features_{split}.csv", common, ",")


def aliexpress(path):
    draw = random.Random(1)
    for split in ("train", "test"):
        users, items = [], []
        for n in range(30):
            users += [[f"s{n}", *(draw.randint(0, 5) for _ in range(7)), *([0.5] * 23), "c1", "c2"]]
        for n in range(ROWS):
            outcome = n % 3 if n < 3 else draw.choice([0, 0, 1, 1, 2])
            items.append([f"s{n % 30}", *([1.5] * 47), outcome])
        items.append(["nobody", *([1.5] * 47), 2])  # a search that the user file has not
        for kind, table in (("user", users), ("item", items)):
            text = "".join(",".join(map(str, line)) + "\n" for line in table)
            path.mkdir(parents=True, exist_ok=True)
            with zipfile.ZipFile(path / f"NL_{split}_{kind}.csv.zip", "w") as archive:
                archive.writestr(f"{split}_{kind}.csv", text)


def aliexpress_processed(path):
    draw = random.Random(2)
    header = ["search_id", *(f"categorical_{n}" for n in range(1, 17)), *(f"numerical_{n}" for n in range(1, 64))]
    for split in ("train", "test"):
        rows = [[*header, "click", "conversion"]]
        for n in range(ROWS):
            click = draw.random() < 0.4
            buy = click and draw.random() < 0.5
            rows.append([n % 20, *(draw.randint(0, 4) for _ in range(16)), *([0.25] * 63), int(click), int(buy)])
        lines(path / f"{split}.csv", rows, ",")


def census_income(path):
    draw = random.Random(8)
    path.mkdir(parents=True, exist_ok=True)

    def record(n, region, income, marital):
        row = [draw.randint(0, 90), "Private", 0, 0, f"grade {n % 4}", 0, "Not in universe", marital, "Trade", "Sales",
               "White", "All other", "Female", "No", "Job loser", "Full-time", 0, 0, 0, "Single", region, "Utah",
               "Householder", "Householder", 1700.09, "?", "?", "?", "Yes", "?", n % 6, "Not", "?", "Mexico",
               "United-States", "Native", 0, "Not in universe", 2, 52, 95, income]  # fmt: skip
        return ", ".join(map(str, row))

    for name, only in (("census-income.data", "West"), ("census-income.test", "Abroad")):
        rows = [
            record(
                n,
                only if n == 0 else "South",
                "50000+." if n % 4 == 0 else "- 50000.",
                "Never married" if n % 3 else "Divorced",
            )
            for n in range(ROWS)
        ]
        (path / (name + ".gz")).write_bytes(gzip.compress(("\n".join(rows) + "\n").encode()))


def criteo_search(path):
    draw = random.Random(9)
    rows = []
    for n in range(ROWS):
        sale = int(n != 0 and draw.random() < 0.3)
        rows.append(
            [sale, 25.5 + n if sale else -1, 3600 if sale else -1, 1_598_891_820 + n, -1 if n == 0 else n % 9,
             10.5 if sale else 0.0, "A1" if n else -1, f"D{n % 3}", "AU", -1, f"B{n % 5}", *([f"C{n % 4}"] * 3),
             *([-1] * 4), "US", f"P{n % 20}", "red shoes \"men", f"PA{n % 3}", f"U{n % 30}"]
        )  # fmt: skip
    lines(path / "CriteoSearchData", rows, "\t")


ATTRIBUTION = (
    "timestamp uid campaign conversion conversion_timestamp conversion_id attribution click click_pos click_nb "
    "cost cpo time_since_last_click cat1 cat2 cat3 cat4 cat5 cat6 cat7 cat8 cat9"
)


def criteo_attribution(path):
    draw = random.Random(10)
    rows = [
        ATTRIBUTION.split(),
        [0, 1, 7, 1, 900, 55, 0, 0, -1, -1, 1e-05, 0.3, -1, *range(9)],
    ]  # converted without a click
    for n in range(ROWS):
        click = draw.random() < 0.4
        buy = draw.random() < 0.4
        rows.append(
            [
                n,
                n % 30,
                n % 5,
                int(buy),
                1000 if buy else -1,
                9 if buy else -1,
                0,
                int(click),
                -1,
                -1,
                2e-05,
                0.3,
                n,
                *(draw.randint(0, 5) for _ in range(9)),
            ]
        )
    path.mkdir(parents=True, exist_ok=True)
    text = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (path / "criteo_attribution_dataset.tsv.gz").write_bytes(gzip.compress(text.encode()))
