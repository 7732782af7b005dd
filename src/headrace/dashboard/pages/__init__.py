"""The pages, one module for each kind of resource.

A module has ``router`` with its routes below ``/dashboard``; `app.py` lists it with its entry in
the navigation. All routes need a session, and all changes an administrator's (`access.guard`).
Routes read with ``context.store.read()``, change with `control.operations`, and answer with
`render_page`, a redirect after a change (`redirect_with_notice`), or `render_live`.
"""
