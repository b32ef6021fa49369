"""The sign-in, where the service asks for keys: the key itself, in a cookie that no script sees."""

from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from app.client import ClientError, Unauthorised
from app.pages.visitor import KEY_COOKIE, Visitor, VisitorDependency, is_possible_key

router = APIRouter(include_in_schema=False)

SIGN_IN = "/pages/sign-in"


@router.get(SIGN_IN)
async def ask(visitor: VisitorDependency, to: str = "/") -> Response:
    """Ask for a key."""
    return await _form(visitor, to)


@router.post(SIGN_IN)
async def sign_in(visitor: VisitorDependency, to: str = "/") -> Response:
    """Keep a key in a cookie, if the service knows it."""
    key = (await read_form(visitor.request)).get("key", "").strip()
    if not key:
        return await _form(visitor, to, "write the key that you were given")
    if not is_possible_key(key):
        return await _form(visitor, to, "a key has letters, digits and . _ ~ + / - alone")
    try:
        await Visitor(visitor.request, visitor.site, key).client.classes()
    except Unauthorised as error:
        if error.status == 401:
            return await _form(visitor, to, error.problem.detail)
    except ClientError:  # whoever is refused for another reason was let in
        pass
    answer = RedirectResponse(_within(to), 303)
    answer.set_cookie(
        KEY_COOKIE,
        key,
        httponly=True,
        samesite="strict",
        secure=visitor.request.url.scheme == "https",
    )
    return answer


@router.post("/pages/sign-out")
async def sign_out(_: VisitorDependency) -> Response:
    """Forget the key."""
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(KEY_COOKIE, httponly=True, samesite="strict")
    return answer


def sign_in_address(to: str) -> str:
    """Return where to sign in, and be led back from."""
    return f"{SIGN_IN}?to={quote(to, safe='/')}"


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form, each once; one of another type than forms have is empty."""
    if not request.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    body = (await request.body()).decode("ascii", "replace")
    fields = parse_qs(body, keep_blank_values=True, errors="replace")
    return {name: values[-1] for name, values in fields.items()}


async def _form(visitor: Visitor, to: str, error: str | None = None) -> Response:
    return await visitor.page(
        "sign_in.html",
        422 if error else 200,
        to=_within(to),
        here=sign_in_address(_within(to)),
        error=error,
        # A cookie this strict is not sent along with a click on another site's link.
        from_elsewhere=visitor.request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"},
    )


def _within(to: str) -> str:
    # "//elsewhere" and "/\elsewhere" are addresses of other hosts.
    inside = to.startswith("/") and not to.startswith(("//", "/\\"))
    return to if inside and to.isprintable() else "/"
