"""docker/: what can be checked without Docker."""

import re
from pathlib import Path

import yaml

from mtl_lightning.cli.serve import OPTIONS
from mtl_lightning.export.layouts import IMAGE

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))


def test_the_image_copies_what_exists_and_is_pinned() -> None:
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, flags=re.MULTILINE)
    names = [name for line in copies for name in line.split()]
    assert len(names) >= 7
    assert [name for name in names if not (ROOT / name).exists()] == []
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    assert "-c constraints.txt" in DOCKERFILE
    assert f"-t {IMAGE} " in DOCKERFILE


def test_no_process_of_the_image_is_root() -> None:
    last = DOCKERFILE.rpartition("FROM ")[2]
    (user,) = re.findall(r"^USER (\S+)$", last, flags=re.MULTILINE)
    assert int(user.split(":")[0]) > 0
    assert last.index("USER ") < last.index("ENTRYPOINT ")
    assert "RUN " not in last[last.index("USER ") :]


def test_services_of_the_compose_file_run_commands_of_this_package() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"fit", "export", "serve"}
    for name, service in services.items():
        assert service["command"][0] == name
        assert service["image"] == IMAGE
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    arguments = dict(pair.split("=", 1) for pair in services["serve"]["command"][1:])
    assert set(arguments) <= {"export", *OPTIONS}
    exported = dict(pair.split("=", 1) for pair in services["export"]["command"][1:])
    assert arguments["export"] == exported["out"]
    assert f"run.dir={exported['run']}" in services["fit"]["command"]
    assert services["serve"]["ports"][0].endswith(f":{arguments['port']}")
