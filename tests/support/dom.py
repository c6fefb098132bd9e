"""HTML parsed into a tree of elements that tests can search."""

from collections.abc import Iterator
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Element:
    def __init__(self, tag: str, attrs: dict[str, str], parent: "Element | None") -> None:
        self.tag = tag
        self.attrs = attrs
        self.parent = parent
        self.children: list[Element | str] = []

    @property
    def text(self) -> str:
        """Text of the element, with its white space."""
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    @property
    def words(self) -> str:
        """Text of the element on one line."""
        return " ".join(self.text.split())

    def __getitem__(self, name: str) -> str:
        return self.attrs[name]

    def get(self, name: str) -> str | None:
        return self.attrs.get(name)

    def below(self) -> Iterator["Element"]:
        """Yield the descendants in order, without those of a <template>, which are not displayed."""
        for child in self.children:
            if isinstance(child, Element):
                yield child
                if child.tag != "template":
                    yield from child.below()

    def all(self, tag: str = "", **attrs: str) -> list["Element"]:
        """Find elements by tag, class (``class_``) and attributes (``aria_label`` is aria-label)."""
        return [element for element in self.below() if element.matches(tag, attrs)]

    def one(self, tag: str = "", **attrs: str) -> "Element":
        found = self.all(tag, **attrs)
        assert len(found) == 1, f"{len(found)} of {tag} {attrs}"
        return found[0]

    def matches(self, tag: str, attrs: dict[str, str]) -> bool:
        classes = (self.get("class") or "").split()
        return (not tag or tag == self.tag) and all(
            value in classes if name == "class_" else self.get(name.replace("_", "-")) == value
            for name, value in attrs.items()
        )

    def fields(self) -> dict[str, str]:
        """Return the fields that a form sends in its present state, without its buttons."""
        sent = {}
        for field in self.below():
            if field.tag in {"input", "select", "textarea"} and field.get("name"):
                sent[field["name"]] = field.text if field.tag == "textarea" else field.get("value") or ""
        return sent


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {}, None)
        self.at = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _value in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)


def parse(html: str) -> Element:
    """Parse a page; fail if its tags do not match or an element has an attribute twice."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    assert builder.at is builder.root, f"<{builder.at.tag}> is not closed"
    return builder.root
