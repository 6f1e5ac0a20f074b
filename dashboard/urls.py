"""URLs of the pages. All page state is in the URL: Back works and links can be shared."""

from __future__ import annotations

from django.urls import path

from dashboard.views import (
    alerts,
    catalog,
    composing,
    console,
    data,
    devices,
    discover,
    domain,
    epoch,
    icons,
    inbox,
    landing,
    linking,
    live,
    members,
    phone,
    rotation,
    settings,
    sharing,
    sign_in,
    subscriptions,
    templates,
    webhooks,
)

app_name = "dashboard"

urlpatterns = [
    path("", landing.landing, name="landing"),
    path("demo", landing.demo, name="demo"),
    path("demo/collide", landing.demo_collide, name="demo-collide"),
    path("demo/online", landing.demo_online, name="demo-online"),
    path("join", landing.join, name="join"),
    path("offline", landing.offline, name="offline"),
    path("problems", landing.problems, name="problems"),
    path("problems/<slug:slug>", landing.problem, name="problem"),
    # Signing in
    path("signin", sign_in.sign_in, name="sign-in"),
    path("signin/again", sign_in.sign_in_again, name="sign-in-again"),
    path("signin/begin", sign_in.begin, name="sign-in-begin"),
    path("signin/prove", sign_in.prove, name="sign-in-prove"),
    path("signin/share", sharing.share, name="sign-in-share"),
    path("signin/share/new", sharing.new_group, name="new-group"),
    path("signin/link", linking.show, name="link-show"),
    path("signin/key", linking.ask_key, name="key-ask"),
    path("signin/link/state", linking.state, name="link-state"),
    path("signin/text/<int:number>", sign_in.text_file, name="sign-text"),
    path("signin/phone", phone.pair, name="sign-in-phone"),
    path("signin/phone/code", phone.code, name="sign-in-phone-code"),
    path("signin/phone/end", phone.end, name="sign-in-phone-end"),
    path("signout", devices.sign_out, name="sign-out"),
    # The inbox
    path("inbox", inbox.inbox, name="inbox"),
    path("inbox/act", inbox.act, name="inbox-act"),
    path("inbox/filters", inbox.filter_save, name="filter-save"),
    path("inbox/filters/<int:pk>/remove", inbox.filter_remove, name="filter-remove"),
    path("inbox/<int:pk>", inbox.message, name="message"),
    path("inbox/<int:pk>/actions", inbox.message_actions, name="message-actions"),
    # Subscriptions
    path("subscriptions", subscriptions.subscription_list, name="subscription-list"),
    path(
        "subscriptions/attempt/<uuid:attempt_id>", subscriptions.attempt, name="attempt"
    ),
    path("subscriptions/<str:topic>", subscriptions.subscription, name="subscription"),
    path(
        "subscriptions/<str:topic>/update",
        subscriptions.update,
        name="subscription-update",
    ),
    path(
        "subscriptions/<str:topic>/delete",
        subscriptions.delete,
        name="subscription-delete",
    ),
    path(
        "subscriptions/<str:topic>/keys",
        subscriptions.accept_keys,
        name="subscription-keys",
    ),
    # Finding dapps
    path("dapps/<slug:slug>", landing.dapp, name="dapp"),
    path("discover", discover.discover, name="discover"),
    path("discover/dapp", discover.choose, name="discover-choose"),
    path("discover/check/<uuid:check_id>", discover.check, name="domain-check"),
    path("discover/subscribe", discover.subscribe, name="subscribe"),
    # Devices and sync
    path("devices", devices.device_list, name="device-list"),
    path("devices/link", linking.confirm, name="link-confirm"),
    path("devices/key", linking.give_key, name="key-give"),
    path("devices/others/revoke", devices.revoke_others, name="device-revoke-others"),
    path("devices/<uuid:device_id>/rename", devices.rename, name="device-rename"),
    path("devices/<uuid:device_id>/revoke", devices.revoke, name="device-revoke"),
    path("devices/epoch/<int:pk>", epoch.new_epoch, name="new-epoch"),
    path("sync", devices.sync, name="sync"),
    path("sync/log.jsonl", devices.sync_export, name="sync-export"),
    path("sync/verify", devices.sync_verify, name="sync-verify"),
    # Settings
    path("settings", settings.settings, name="settings"),
    path("settings/look", settings.theme, name="theme"),
    path("settings/accounts/<int:pk>", settings.account_label, name="account-label"),
    # Export and import
    path("settings/data", data.data, name="data"),
    path("settings/data/export", data.export, name="data-export"),
    path("settings/data/notifications.csv", data.export_csv, name="data-csv"),
    path("settings/data/import", data.upload, name="data-import"),
    path("settings/data/import/<uuid:import_id>", data.preview, name="data-preview"),
    # Alerts
    path("settings/alerts/quiet", alerts.quiet_hours, name="quiet-hours"),
    path("settings/alerts/push", alerts.push_enable, name="push-enable"),
    path("settings/alerts/push/off", alerts.push_disable, name="push-disable"),
    path("settings/alerts/push/test", alerts.push_test, name="push-test"),
    path("settings/alerts/forwards", alerts.forward_add, name="forward-add"),
    path(
        "settings/alerts/forwards/<uuid:forward_id>",
        alerts.forward_act,
        name="forward-act",
    ),
    path("settings/alerts/digest", alerts.digest_save, name="digest"),
    path("digest/confirm/<str:token>", alerts.digest_confirm, name="digest-confirm"),
    path("digest/stop/<str:token>", alerts.digest_stop, name="digest-stop"),
    path("manifest.webmanifest", alerts.manifest, name="manifest"),
    path("sw.js", alerts.service_worker, name="service-worker"),
    path("subscriptions/<str:topic>/block", subscriptions.block, name="dapp-block"),
    path("subscriptions/blocked/<int:pk>", subscriptions.unblock, name="dapp-unblock"),
    path("subscriptions/<str:topic>/mute", alerts.mute, name="subscription-mute"),
    path(
        "settings/accounts/<int:pk>/remove",
        settings.account_remove,
        name="account-remove",
    ),
    # The console of dapp owners
    path("console", console.console, name="console"),
    path("console/project/new", console.project_new, name="project-new"),
    path(
        "console/stored/<uuid:submission_id>",
        console.secret_stored,
        name="secret-stored",
    ),
    # One path for all projects: the limit of a body is by path.
    path("console/upload/accounts", composing.accounts_upload, name="accounts-upload"),
    path("console/<slug:slug>", console.project, name="project"),
    path("console/<slug:slug>/close", console.project_close, name="project-close"),
    path("console/<slug:slug>/setup", domain.setup, name="project-setup"),
    path(
        "console/<slug:slug>/setup/<slug:step>",
        domain.setup_step,
        name="project-setup-step",
    ),
    path("console/<slug:slug>/domain", domain.project_domain, name="project-domain"),
    path(
        "console/<slug:slug>/domain/<str:name>",
        domain.project_document,
        name="project-document",
    ),
    path("console/<slug:slug>/send", composing.project_send, name="project-send"),
    path("console/<slug:slug>/lists", composing.project_lists, name="project-lists"),
    path(
        "console/<slug:slug>/lists/<uuid:list_id>/delete",
        composing.list_delete,
        name="list-delete",
    ),
    path(
        "console/<slug:slug>/sent",
        composing.project_scheduled,
        name="project-scheduled",
    ),
    path(
        "console/<slug:slug>/sent/<uuid:notification_id>",
        composing.project_sent,
        name="project-sent",
    ),
    path(
        "console/<slug:slug>/sent/<uuid:notification_id>/cancel",
        composing.broadcast_cancel,
        name="broadcast-cancel",
    ),
    path(
        "console/<slug:slug>/sent/<uuid:notification_id>/retry",
        composing.broadcast_retry,
        name="broadcast-retry",
    ),
    path(
        "console/<slug:slug>/templates",
        templates.project_templates,
        name="project-templates",
    ),
    path(
        "console/<slug:slug>/templates/new",
        templates.template_new,
        name="template-new",
    ),
    path(
        "console/<slug:slug>/templates/<uuid:template_id>",
        templates.template_edit,
        name="template-edit",
    ),
    path(
        "console/<slug:slug>/welcome",
        templates.project_welcome,
        name="project-welcome",
    ),
    path(
        "console/<slug:slug>/subscribers",
        console.project_subscribers,
        name="project-subscribers",
    ),
    path(
        "console/<slug:slug>/subscribers.csv",
        console.project_subscribers_csv,
        name="project-subscribers-csv",
    ),
    path("console/<slug:slug>/types", console.project_types, name="project-types"),
    path("console/<slug:slug>/keys", console.project_keys, name="project-keys"),
    path(
        "console/<slug:slug>/keys/replace",
        rotation.project_rotation,
        name="project-rotation",
    ),
    path(
        "console/<slug:slug>/keys/secrets",
        console.secret_add,
        name="project-secret-add",
    ),
    path(
        "console/<slug:slug>/keys/secrets/<int:pk>/replace",
        console.secret_replace,
        name="project-secret-replace",
    ),
    path(
        "console/<slug:slug>/keys/secrets/<int:pk>/revoke",
        console.secret_revoke,
        name="project-secret-revoke",
    ),
    path(
        "console/<slug:slug>/webhooks",
        webhooks.project_webhooks,
        name="project-webhooks",
    ),
    path(
        "console/<slug:slug>/webhooks/<uuid:webhook_id>",
        webhooks.project_webhook,
        name="project-webhook",
    ),
    path(
        "console/<slug:slug>/webhooks/<uuid:webhook_id>/rotate",
        webhooks.webhook_rotate,
        name="project-webhook-rotate",
    ),
    path(
        "console/<slug:slug>/webhooks/<uuid:webhook_id>/replay",
        webhooks.webhook_replay_range,
        name="project-webhook-replay-range",
    ),
    path(
        "console/<slug:slug>/webhooks/replay/<uuid:delivery_id>",
        webhooks.webhook_replay,
        name="project-webhook-replay",
    ),
    path(
        "console/<slug:slug>/settings",
        console.project_settings,
        name="project-settings",
    ),
    path(
        "console/<slug:slug>/members", members.project_members, name="project-members"
    ),
    path(
        "console/<slug:slug>/members/leave",
        members.project_leave,
        name="project-leave",
    ),
    path(
        "console/<slug:slug>/members/<int:pk>/role",
        members.member_role,
        name="member-role",
    ),
    path(
        "console/<slug:slug>/members/<int:pk>/remove",
        members.member_remove,
        name="member-remove",
    ),
    path(
        "console/<slug:slug>/members/<int:pk>/hand-over",
        members.member_hand_over,
        name="member-hand-over",
    ),
    path(
        "console/<slug:slug>/invitations/<uuid:invitation_id>/withdraw",
        members.invitation_withdraw,
        name="invitation-withdraw",
    ),
    path("invitation/<str:token>", members.invitation, name="invitation"),
    # Pictures of dapps, and texts of the scripts
    path("icons/<slug:slug>", icons.icon, name="icon"),
    path("texts/<str:language>.js", catalog.catalog, name="catalog"),
    # Live updates without a socket
    path("live/events", live.events, name="live-events"),
]
