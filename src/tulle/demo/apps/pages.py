"""The HTML of the bookshop."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 46rem; margin: 0 auto; padding: 1rem 1.25rem 3rem }
header { display: flex; justify-content: space-between; align-items: center; border-bottom: 1px solid #8886; padding-bottom: .5rem }
h1 { font: 600 2rem/1.2 Georgia, serif; margin: 1.5rem 0 .25rem }
h2 { font-size: 1.1rem; margin-top: 2rem }
form { display: flex; gap: .5rem }
input, button { font: inherit; padding: .25rem .6rem }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: .15rem 1rem; margin: 0 }
dt { color: #777 } dd { margin: 0 }
blockquote { margin: 1rem 0; padding-left: 1rem; border-left: 3px solid #8886 }
footer { color: #777 }
.stars { letter-spacing: .15em }
.black { color: CanvasText } .red { color: #d22 }
.error { color: #b50; font-weight: 600 }
"""

FACTS = ("author", "year", "type", "pages", "publisher", "language", "ISBN-10", "ISBN-13")


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/static/style.css"></head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def front_page() -> str:
    """Where one comes in."""
    body = '<h1>Bookshop</h1><p>One book, four services. <a href="/productpage">See the book</a>, or read it as '
    return document("Bookshop", f'{body}<a href="/api/v1/products/0">JSON</a>.</p>')


def product_page(*, product: Mapping[str, object], details: tuple[int, object], reviews: tuple[int, object], user: str) -> str:
    """The book with its facts and what readers say; where a service did not answer, its apology."""
    title = escape(str(product["title"]))
    parts = (
        f"<header><strong>Bookshop</strong>{_login(user)}</header>",
        f"<h1>{title}</h1><p>{escape(str(product['descriptionHtml']))}</p>",
        f"<section><h2>Book Details</h2>{_details(*details)}</section>",
        f"<section><h2>Book Reviews</h2>{_reviews(*reviews)}</section>",
    )
    return document(str(product["title"]), "\n".join(parts))


def _login(user: str) -> str:
    if user:
        return f'<span>{escape(user)} (<a href="/logout">sign out</a>)</span>'
    return (
        '<form action="/login" method="post"><input name="username" placeholder="user, say jason" aria-label="user">'
        '<input name="passwd" type="password" placeholder="any password" aria-label="password"><button>Sign in</button></form>'
    )


def _error(value: object) -> str:
    text = value.get("error", "") if isinstance(value, dict) else ""
    return f'<p class="error">{escape(str(text))}</p>'


def _details(status: int, value: object) -> str:
    if status != 200 or not isinstance(value, dict):
        return _error(value)
    facts = "".join(f"<dt>{fact}</dt><dd>{escape(str(value[fact]))}</dd>" for fact in FACTS if fact in value)
    return f"<dl>{facts}</dl>"


def _reviews(status: int, value: object) -> str:
    reviews = value.get("reviews") if isinstance(value, dict) else None
    if status != 200 or not isinstance(value, dict) or not isinstance(reviews, list):
        return _error(value)
    return (
        "".join(_review(review) for review in reviews) + f"<p>Reviews served by: <code>{escape(str(value.get('podname', '')))}</code></p>"
    )


def _review(review: Mapping[str, object]) -> str:
    rating = review.get("rating")
    text, who = escape(str(review.get("text", ""))), escape(str(review.get("reviewer", "")))
    return f"<blockquote><p>{text}</p><footer>{who} {_stars(rating)}</footer></blockquote>"


def _stars(rating: object) -> str:
    if not isinstance(rating, dict):
        return ""
    count = rating.get("stars")
    if not isinstance(count, int):
        return f'<span class="error">{escape(str(rating.get("error", "")))}</span>'
    shown = max(0, min(count, 5))
    return f'<span class="stars {escape(str(rating.get("color", "")))}" title="{shown} of 5">{"★" * shown}{"☆" * (5 - shown)}</span>'
