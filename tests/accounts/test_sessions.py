"""Browser sessions: hashed at rest, renewed while used."""

from __future__ import annotations

from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.test import RequestFactory

from accounts.middleware import RENEWED_AT, RollingSessionMiddleware
from accounts.sessions import SessionStore, session_digest
from common import clock
from tests.people import ALICE, sign_in

pytestmark = pytest.mark.django_db


def stored_keys():
    return set(Session.objects.values_list("session_key", flat=True))


def test_a_session_is_kept_under_the_digest_of_its_key():
    session = SessionStore()
    session["colour"] = "green"
    session.create()
    assert stored_keys() == {session_digest(session.session_key)}
    assert SessionStore(session.session_key)["colour"] == "green"


def test_the_digest_does_not_open_the_session():
    session = SessionStore()
    session["colour"] = "green"
    session.create()
    stolen = SessionStore(session_digest(session.session_key))
    assert "colour" not in stolen
    assert not stolen.exists(session_digest(session.session_key))


def test_an_expired_session_is_empty():
    session = SessionStore()
    session["colour"] = "green"
    session.create()
    Session.objects.update(expire_date=clock.now() - timedelta(seconds=1))
    assert "colour" not in SessionStore(session.session_key)


def test_a_session_gets_a_new_key_and_the_old_one_is_gone():
    session = SessionStore()
    session["colour"] = "green"
    session.create()
    old = session.session_key
    session.cycle_key()
    session.save()
    assert session.session_key != old
    assert SessionStore(session.session_key)["colour"] == "green"
    assert stored_keys() == {session_digest(session.session_key)}


def test_a_flushed_session_is_gone():
    session = SessionStore()
    session.create()
    session.flush()
    assert stored_keys() == set()


def test_sockets_read_and_write_the_same_sessions():
    async def as_a_socket():
        session = SessionStore()
        await session.aset("colour", "green")
        await session.acreate()
        again = SessionStore(session.session_key)
        assert await again.aget("colour") == "green"
        assert await again.aexists(session.session_key)
        await again.adelete()
        assert not await again.aexists(session.session_key)

    # In this thread, on this test's connection.
    async_to_sync(as_a_socket)()


def test_login_and_logout_work_as_ever(client):
    user = get_user_model().objects.create_user("staff", password="a long password")
    assert client.login(username="staff", password="a long password")
    assert stored_keys() == {session_digest(client.session.session_key)}
    assert int(client.session["_auth_user_id"]) == user.pk
    client.logout()
    assert stored_keys() == set()


def renewed(session, *, cookie):
    request = RequestFactory().get("/")
    request.session = session
    if cookie:
        request.COOKIES["session"] = session.session_key
    RollingSessionMiddleware(lambda _: HttpResponse())(request)
    return session.modified


def test_a_used_session_is_renewed_at_most_once_an_hour():
    device = sign_in(ALICE)
    session = SessionStore(device.session)
    session["_auth_user_id"] = str(device.user_id)
    session.save()
    session.modified = False
    assert renewed(session, cookie=True)
    start = session[RENEWED_AT]
    session.modified = False
    assert not renewed(session, cookie=True)
    with clock.frozen(clock.now() + timedelta(seconds=3700)):
        assert renewed(session, cookie=True)
    assert session[RENEWED_AT] > start


def test_anonymous_visitors_are_not_renewed():
    session = SessionStore()
    session.create()
    session.modified = session.accessed = False
    assert not renewed(session, cookie=True)
    session.accessed = False
    assert not renewed(session, cookie=False)
    assert not session.accessed
