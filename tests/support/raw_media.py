"""Raw files of logs of news, videos and films, the first rows with every quirk."""

import random
from datetime import datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from raw_lines import ROWS, lines

KUAIRAND_LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
KUAIRAND_USER = (
    "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,"
    "follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,"
    "register_days_range"
)
KUAIRAND_VIDEO = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,"
    "music_id,music_type,tag"
)


def kuairand(path):
    draw = random.Random(3)
    path.mkdir(parents=True, exist_ok=True)

    def log(name, first, count, is_rand):
        rows = [KUAIRAND_LOG]
        for n in range(first, first + count):
            click, like, follow, long, comment, share = (int(draw.random() < p) for p in (0.5, 0.3, 0.2, 0.4, 0.2, 0.2))
            duration = 0 if n == 0 else 10_000
            time = 1_650_000_000_000 + n * 1000
            rows.append(
                f"{n % 10},{n % 15},20220408,{100 * (n % 24) + 7},{time},{click},{like},{follow},{comment},{share},0,"
                f"{long},{9000 * click},{duration},0,0,0,{is_rand},{n % 3}"
            )
        (path / name).write_text("\n".join(rows) + "\n")

    log("log_standard_4_08_to_4_21_27k_part1.csv", 0, ROWS // 2, 0)
    log("log_standard_4_08_to_4_21_27k_part2.csv", ROWS // 2, ROWS // 4, 0)
    log("log_standard_4_22_to_5_08_27k_part1.csv", 3 * ROWS // 4, ROWS // 4, 0)
    log("log_random_4_22_to_5_08_27k.csv", ROWS, 20, 1)
    users = [KUAIRAND_USER + "," + ",".join(f"onehot_feat{n}" for n in range(18))]
    for user in range(9):  # of the tenth nothing is known
        codes = ",".join("" if user == 0 and n >= 12 else f"{n % 4}.0" if n >= 12 else str(n % 4) for n in range(18))
        users.append(f'{user},full_active,0,0,1,{user * 10},"[100,1k)",5,"[1,10)",2,"[1,5)",400,"366-730",{codes}')
    (path / "user_features_27k.csv").write_text("\n".join(users) + "\n")
    videos = [KUAIRAND_VIDEO]
    for video in range(15):
        tag = '"11,4"' if video == 1 else "" if video == 2 else str(video)
        videos.append(
            f"{video},{video % 4},NORMAL,2022-04-01,LongImport,1.0,{video}500.0,720.0,1280.0,{video},9.0,{tag}"
        )
    (path / "video_features_basic_27k.csv").write_text("\n".join(videos) + "\n")
    for part, some in enumerate((range(6), range(6, 15)), 1):
        statistics = ["video_id,counts,show_cnt,play_cnt", *(f"{video},3.0,{video}0.5,7.0" for video in some)]
        (path / f"video_features_statistic_27k_part{part}.csv").write_text("\n".join(statistics) + "\n")


def tenrec_video(path):
    draw = random.Random(4)
    header = [
        "user_id",
        "item_id",
        "click",
        "follow",
        "like",
        "share",
        "video_category",
        "watching_times",
        "gender",
        "age",
    ]
    history = [f"hist_{n}" for n in range(1, 11)]
    rows = [
        [*header, *history],
        [1, 5, 0, 0, 0, 0, "\\N", 0, 1, 3, 7, 8, *([0] * 8)],
        [1, 5, 1, 1, 1, 1, 0, 2, 1, 3, *([0] * 10)],
    ]
    for n in range(ROWS):
        labels = [int(draw.random() < p) for p in (0.5, 0.2, 0.3, 0.2)]
        rows.append([n % 11, n % 17, *labels, n % 2, n % 4, n % 3, n % 6, *(draw.randint(1, 16) for _ in range(10))])
    lines(path / "ctr_data_1M.csv", rows, ",")


TENREC_ARTICLE = (
    "user_id,item_id,click,gender,age,exposure_count,click_count,like_count,comment_count,read_percentage,"
    "item_score1,item_score2,category_second,category_first,item_score3,read,read_time,share,like,follow,favorite"
)


def tenrec_article(path):
    draw = random.Random(5)
    rows = [TENREC_ARTICLE.split(",")]
    for n in range(ROWS):
        click, read, share, like, follow, favorite = (int(draw.random() < 0.4) for _ in range(6))
        counts = [100 + n, 10, 3, 1]
        rows.append(
            [
                n % 11,
                n % 17,
                click,
                n % 3,
                n % 6,
                *counts,
                45.5,
                0.5,
                1.5,
                n % 8,
                n % 3,
                2.5,
                read,
                12 + n % 50,
                share,
                like,
                follow,
                favorite,
            ]
        )
    lines(path / "QK-article.csv", rows, ",")


def mind(path):
    draw = random.Random(6)
    entities = '[{"Label": "X", "Type": "P"}]'
    news = [
        (
            f"N{n}",
            "news" if n % 2 else "sports",
            f"sub{n % 3}",
            f'He said "go" {n}',
            f"About it {n}",
            "u",
            entities,
            "[]",
        )
        for n in range(12)
    ]
    news[3] = ("N3", "news", "sub0", 'Unbalanced " quote', "", "u", "[]", "[]")
    for name in ("MINDsmall_train", "MINDsmall_dev"):
        rows = [
            (1, "U13740", "11/11/2019 9:05:58 AM", "N1 N2", "N3-1 N4-0"),
            (2, "U91836", "11/12/2019 6:11:30 PM", "", "N5-0"),
        ]
        for n in range(ROWS // 4):
            shown = " ".join(f"N{draw.randint(0, 13)}-{int(draw.random() < 0.3)}" for _ in range(4))
            rows.append((n + 3, f"U{n % 9}", f"11/{13 + n % 3}/2019 {1 + n % 12}:{n % 60:02d}:00 AM", "N1 N7", shown))
        lines(path / name / "behaviors.tsv", rows, "\t")
        lines(path / name / "news.tsv", news, "\t")
    lines(path / "MINDlarge_test" / "behaviors.tsv", [(1, "U1", "11/15/2019 12:00:00 AM", "N1", "N3 N4")], "\t")
    lines(path / "MINDlarge_test" / "news.tsv", news, "\t")


def ebnerd(path):
    draw = random.Random(7)
    start = datetime(2023, 5, 18, 7, 5)
    for split in ("train", "validation"):
        rows = []
        for n in range(ROWS // 4):
            shown = draw.sample(range(100, 112), 4)
            clicked = shown[: 1 + (n % 5 == 0)]
            unknown = n % 5 == 1
            rows.append(
                {
                    "impression_id": n, "article_id": None if n % 2 else 105.0,
                    "impression_time": start + timedelta(minutes=n), "read_time": 8.0,
                    "scroll_percentage": None, "device_type": 1 + n % 3, "article_ids_inview": shown,
                    "article_ids_clicked": clicked, "user_id": n % 7, "is_sso_user": n % 2 == 0,
                    "gender": None if n % 3 else 1.0, "postcode": None, "age": None, "is_subscriber": False,
                    "session_id": n % 11, "next_read_time": None if unknown else 5.0 + n % 30,
                    "next_scroll_percentage": None if unknown else 1.5 * (n % 50),
                }
            )  # fmt: skip
        (path / split).mkdir(parents=True, exist_ok=True)
        write_wide(
            pd.DataFrame(rows).astype({"impression_id": "uint32", "device_type": "int8", "user_id": "uint32"}),
            path / split / "behaviors.parquet",
        )
        write_wide(
            pd.DataFrame(
                {
                    "user_id": range(6),  # the seventh has no history
                    "impression_time_fixed": [[start] * 2] * 6,
                    "scroll_percentage_fixed": [[50.0, None]] * 6,
                    "article_id_fixed": [[101, 102]] * 6,
                    "read_time_fixed": [[7.0, 9.5]] * 6,
                }
            ),
            path / split / "history.parquet",
        )
    articles = [
        {
            "article_id": n, "title": f"Hænger {n} på?", "subtitle": "", "body": "…", "premium": n % 2 == 0,
            "article_type": "article_default", "category": 118 + n % 3, "published_time": start,
        }
        for n in range(100, 111)
    ]  # fmt: skip
    write_wide(pd.DataFrame(articles).astype({"article_id": "int32", "category": "int16"}), path / "articles.parquet")


def write_wide(frame, path):
    """Parquet as polars writes it: text and lists with 64-bit offsets."""
    table = pa.Table.from_pandas(frame, preserve_index=False)

    def wide(kind):
        if pa.types.is_list(kind):
            return pa.large_list(wide(kind.value_type))
        return pa.large_string() if pa.types.is_string(kind) else kind

    pq.write_table(table.cast(pa.schema([(field.name, wide(field.type)) for field in table.schema])), path)


WECHAT_FEED = (
    "feedid,authorid,videoplayseconds,description,ocr,asr,bgm_song_id,bgm_singer_id,manual_keyword_list,"
    "machine_keyword_list,manual_tag_list,machine_tag_list,description_char,ocr_char,asr_char"
)


def wechat(path):
    draw = random.Random(11)
    actions = ["userid,feedid,date_,device,read_comment,comment,like,play,stay,click_avatar,forward,follow,favorite"]
    for n in range(ROWS):
        flags = [int(draw.random() < 0.3) for _ in range(7)]
        day = 1 + n * 14 // ROWS
        actions.append(",".join(map(str, [n % 9, 1 + n % 6, day, 1 + n % 2, *flags[:3], 5000, 6000.5, *flags[3:]])))
    feeds = [
        WECHAT_FEED,
        "1,7,13,3 4 5,9,,,,11;12,13,21;22,31 0.9;32 0.105,1 2,,",
        *(f"{n},{n % 3},20,1 2,3,4,5.0,6.0,1;2,3,4,5 0.5,1,2,3" for n in range(2, 6)),  # of feed 6 nothing is known
    ]
    path.mkdir(parents=True, exist_ok=True)
    (path / "user_action.csv").write_text("\n".join(actions) + "\n")
    (path / "feed_info.csv").write_text("\n".join(feeds) + "\n")
    (path / "feed_embeddings.csv").write_text('feedid,feed_embedding\n1,"0.5 -1.25 "\n2,"0.1 0.2 "\n')


def movielens_1m(path):
    draw = random.Random(12)
    ratings = [(1, 1, 5, 978300760), (1, 2, 3, 978300000)]
    ratings += [(1 + n % 8, 1 + n % 10, draw.randint(1, 5), 978301000 + n) for n in range(ROWS)]
    lines(path / "ratings.dat", ratings, "::", encoding="iso-8859-1")
    lines(
        path / "users.dat", [(u, "F" if u % 2 else "M", 1 if u == 1 else 25, u, f"0{u}067") for u in range(1, 9)], "::"
    )
    movies = [(1, "Misérables, Les (1995)", "Drama|Musical"), (2, "M:Odd, no year", "Crime")]
    movies += [(m, f"Film, The: {m} (19{50 + m})", "Comedy|Action") for m in range(3, 10)]  # the tenth is missing
    lines(path / "movies.dat", movies, "::", encoding="iso-8859-1")
