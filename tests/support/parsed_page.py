"""Reads a report's HTML strictly: each element is closed where it was opened, and what is in it can be asked for."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

VOID = {"br", "meta", "wbr"}
SVG = "{http://www.w3.org/2000/svg}"


@dataclass(eq=False)
class Node:
    tag: str
    attributes: dict[str, str]
    children: list["Node | str"] = field(default_factory=list)

    def all(self, tag: str) -> list["Node"]:
        """Return all elements of that tag in it, in their order; "*" for any."""
        below = [child for child in self.children if isinstance(child, Node)]
        return [found for child in below for found in (*([child] if tag in {child.tag, "*"} else []), *child.all(tag))]

    def of_class(self, name: str) -> list["Node"]:
        return [node for node in self.all("*") if name in node.attributes.get("class", "").split()]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class StrictParser(HTMLParser):
    """Builds the tree; an element that is closed out of order is an error, a self-closing one an SVG's."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert any(node.tag == "svg" for node in self.open), f"<{tag}/> outside of a picture"
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parsed(markup: str) -> Node:
    """Return the tree of a page or of a part."""
    parser = StrictParser()
    parser.feed(markup)
    parser.close()
    assert parser.open == [parser.root], f"<{parser.open[-1].tag}> is not closed"
    return parser.root


def pictures(markup: str) -> list[ET.Element]:
    """Return the SVGs of a page, each parsed as XML."""
    pieces = markup.split("<svg")[1:]
    return [ET.fromstring("<svg" + piece[: piece.index("</svg>") + len("</svg>")]) for piece in pieces]  # noqa: S314


def words(picture: ET.Element) -> list[str]:
    """Return the texts that a picture shows."""
    return ["".join(node.itertext()) for node in picture.iter(f"{SVG}text")]
