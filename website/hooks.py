"""Hooks of MkDocs: pages from the package and from the repository, folders in the navigation, links between them."""

import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

import navigation


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Expand folders, and put at the end pages without a place."""
    config.nav = navigation.complete(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that aren't in ``docs``."""
    for path, uri in navigation.repository_pages().items():
        files.append(File.generated(config, uri, abs_src_path=str(navigation.ROOT / path)))
    for uri, text in navigation.generated().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **others: Any) -> str:
    """Make links that are right in the repository right on the site."""
    uri = page.file.src_uri
    if uri in navigation.generated():
        return markdown
    origins = {site: path for path, site in navigation.repository_pages().items()}
    return navigation.relink(markdown, origins.get(uri, f"{navigation.DOCS}/{uri}"), uri, config.repo_url or "")
