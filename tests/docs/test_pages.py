"""The tools that read and run pages: they must notice a page that is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.pages import blocks, links, matches
from support.shell import PageError, shell

PAGE = """# Title

<!-- file: a/b.yaml -->
```yaml
x: 1
```

- a list

  ```console
  $ cat a/b.yaml
  x: 1
  $ cat <<E
  > hello
  > E
  hello
  $ true
  ```

<!-- exit: 3 -->
```console
$ (exit 3)
```

<!-- note about nothing -->
```bash
cd a
PLACE=$(pwd)
```
"""


def test_blocks_are_found_with_lines_and_directives() -> None:
    found = blocks(PAGE)
    assert [(block.language, block.line, block.directives) for block in found] == [
        ("yaml", 5, {"file": "a/b.yaml"}),
        ("console", 11, {}),
        ("console", 22, {"exit": "3"}),
        ("bash", 27, {}),
    ]
    assert [(c.text, c.output, c.line) for c in found[1].commands()] == [
        ("cat a/b.yaml", "x: 1", 11),
        ("cat <<E\nhello\nE", "hello", 13),
        ("true", None, 17),
    ]


@pytest.mark.parametrize("page", ["```bash\necho", "```console\nno command\n```\n"])
def test_broken_pages_are_refused(page: str) -> None:
    with pytest.raises(ValueError, match="line"):
        [block.commands() for block in blocks(page)]


def test_a_directive_holds_for_the_next_block_only() -> None:
    assert [
        block.directives for block in blocks("<!-- background -->\n\ntext\n```sh\n```\n<!-- exit: 1 -->\n\n```sh\n```\n```sh\n```\n")
    ] == [
        {},
        {"exit": "1"},
        {},
    ]


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("a", "a  \n\n", True),
        ("a", "ab", False),
        ("a...c", "abbc\n", True),
        ("a...c", "ab\nc\n", False),
        ("...\nready", "one\ntwo\nready\n", True),
        ("...\nready", "ready", True),
        ("...\nready", "ready\nmore", False),
        ("a\n...\nb", "a\nb", True),
        ("a.c", "abc", False),
        ("...", "", True),
    ],
)
def test_wildcards(expected: str, actual: str, same: bool) -> None:
    assert matches(expected, actual) is same


def test_output_so_far_may_go_on() -> None:
    assert matches("...\nready", "x\nready\nmore\n", so_far=True)
    assert not matches("...\nready", "x\nrea", so_far=True)


def test_links_that_leave_and_links_in_code_are_not_followed() -> None:
    assert links("[a](b.md#c) [d](https://x) [e](#f)\n```text\n[g](h)\n```\n") == ("b.md",)


def test_blocks_share_one_shell(tmp_path: Path) -> None:
    more = "```console\n$ echo $PLACE $(basename $HOME)\n.../page/a home\n```\n"
    with shell(tmp_path) as session:
        for block in blocks(PAGE + more):
            session.run(block)


@pytest.mark.parametrize(
    "wrong",
    [
        "```bash\nfalse\ntrue\n```\n",
        "```bash\nexit 0\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ echo a\nb\n```\n",
        "<!-- exit: 1 -->\n```console\n$ true\n```\n",
        "<!-- background -->\n```console\n$ echo b\na\n```\n",
    ],
)
def test_a_page_that_is_wrong_is_noticed(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(PageError, match="line"), shell(tmp_path) as session:
        for block in blocks(wrong):
            session.run(block)


def test_what_runs_in_the_background_gets_ctrl_c_at_the_end(tmp_path: Path) -> None:
    program = f"{sys.executable} -u -c 'import signal; signal.signal(2, lambda *a: exit(3)); print(1); print(2); signal.pause()'"
    quiet = f"{sys.executable} -u -c 'import signal; print(2); signal.pause()'"
    with shell(tmp_path / "good") as session:
        session.run(blocks(f"<!-- background -->\n```console\n$ {quiet}\n2\n```\n")[0])
    with pytest.raises(PageError, match="after Ctrl-C"), shell(tmp_path / "bad") as session:
        session.run(blocks(f"<!-- background -->\n```console\n$ {program}\n...\n2\n```\n")[0])


def test_what_is_left_behind_is_noticed_and_ended(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"left behind: .*(sleep 60|bash)"), shell(tmp_path, patience=0.5) as session:
        # While a program takes the place of another, nothing of either is to be seen: so it says when it runs.
        runs = "setsid bash -c 'touch runs; while true; do sleep 60; done' >/dev/null 2>&1 &"
        session.run(blocks(f"```bash\n{runs}\nuntil [ -e runs ]; do sleep 0.1; done\n```\n")[0])
