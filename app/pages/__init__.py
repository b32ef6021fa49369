"""The pages at ``/``: clients of the HTTP contract, as any other, and of nothing else.

``docs/pages.md`` says how a page is built.
"""
