"""Django settings, read from the environment. ``docs/settings.md`` explains each."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from common.limits import configured_limits
from notifyweb import environment as env
from notifyweb import task_queues
from notifyweb.content_policy import CONTENT_SECURITY_POLICY as CONTENT_SECURITY_POLICY
from notifyweb.database import Timeouts, database_settings
from notifyweb.embedded.paths import DATABASE, POSTGRES_PORT, ROLE, Paths
from notifyweb.environment import SettingError
from notifyweb.logs import configuration, hide
from notifyweb.redis_address import RedisAddress, redis_address
from notifyweb.schedule import beat_schedule

BASE_DIR = Path(__file__).resolve().parent.parent
DAY = 24 * 60 * 60

# Data directory and services ------------------------------------------------

DATA_DIR = env.folder("NOTIFYWEB_DATA_DIR", BASE_DIR / ".data")
EXTERNAL_DATABASE = env.database_address("DATABASE_URL")
EXTERNAL_REDIS = redis_address("REDIS_URL", env.text("REDIS_URL"))
EMBEDDED_POSTGRES = EXTERNAL_DATABASE is None
EMBEDDED_REDIS = EXTERNAL_REDIS is None
EMBEDDED_PATHS = Paths(DATA_DIR)
if EMBEDDED_POSTGRES:
    env.forget_libpq_variables()

# Addresses ------------------------------------------------------------------

BIND = env.bind("NOTIFYWEB_BIND", "127.0.0.1")
PORT = env.port("NOTIFYWEB_PORT", 8000)
RELAY_PORT = env.port("NOTIFYWEB_RELAY_PORT", 8080)
PUBLIC_URL = env.origin(
    "NOTIFYWEB_PUBLIC_URL", f"http://localhost:{PORT}", schemes=("http", "https")
)
RELAY_PUBLIC_URL = env.address(
    "NOTIFYWEB_RELAY_PUBLIC_URL",
    f"ws://localhost:{RELAY_PORT}",
    schemes=("ws", "wss"),
)
_other_relay = env.address("RELAY_URL", schemes=("ws", "wss"))
EMBEDDED_RELAY = not _other_relay
_relay_host = env.bind("NOTIFYWEB_RELAY_HOST", env.local_host(BIND))
RELAY_URL = _other_relay or f"ws://{env.url_host(_relay_host)}:{RELAY_PORT}"
PROJECT_ID = env.text("PROJECT_ID")
# Where browsers meet phone wallets. Wallets from the stores only use the public relay, which
# asks for a project id.
PHONE_RELAY_URL = _other_relay or (
    "wss://relay.walletconnect.org" if PROJECT_ID else RELAY_PUBLIC_URL
)
_other_keys_server = env.address("KEYS_SERVER_URL", schemes=("http", "https"))
KEYS_SERVER_URL = _other_keys_server or PUBLIC_URL
KEYS_SERVER_IS_OURS = not _other_keys_server
_other_history = env.address("HISTORY_SERVER_URL", schemes=("http", "https"))
HISTORY_SERVER_URL = _other_history or f"{PUBLIC_URL}/history"
HISTORY_SERVER_IS_OURS = not _other_history
# notify-client 0.11.3 replays pages in the order in which it receives them.
HISTORY_SHORT_PAGES_ASCENDING = env.flag(
    "NOTIFYWEB_HISTORY_SHORT_PAGES_ASCENDING", default=False
)
# CAST_SERVER_URL is the server that our wallets watch, CAST_API_URL the one we serve.
CAST_SERVER_URL = (
    env.address("CAST_SERVER_URL", schemes=("http", "https")) or PUBLIC_URL
)
CAST_API_URL = f"{PUBLIC_URL}/cast"
ALLOWED_KEYS_SERVERS = env.addresses(
    "NOTIFYWEB_ALLOWED_KEYS_SERVERS",
    ("https://keys.walletconnect.com",),
    schemes=("http", "https"),
)
ALLOWED_KEYS_SERVERS = sorted({*ALLOWED_KEYS_SERVERS, KEYS_SERVER_URL, PUBLIC_URL})

# By chain id; for the signatures of smart-contract wallets.
RPC_URLS = env.rpc_urls("NOTIFYWEB_RPC_URLS")

PUBLIC_HTTPS = PUBLIC_URL.startswith("https://")
PUBLIC_HOST = env.url_host(urlsplit(PUBLIC_URL).hostname or "localhost")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_embedded = EMBEDDED_POSTGRES and EMBEDDED_REDIS

# Mode -----------------------------------------------------------------------

DEBUG = env.flag("DEBUG", default=False)
DEMO = env.flag("NOTIFYWEB_DEMO", default=_embedded and EMBEDDED_RELAY)
PRODUCTION = not EMBEDDED_POSTGRES and not DEMO
ADMIN = env.flag("NOTIFYWEB_ADMIN", default=not PRODUCTION)
FAILPOINTS = env.names("NOTIFYWEB_FAILPOINTS")
FAILPOINT_FOLDER = env.text("NOTIFYWEB_FAILPOINT_FOLDER")

# Secrets --------------------------------------------------------------------


def _secret(name: str, file_name: str, fresh: str) -> str:
    given = env.text(name)
    if given:
        return given
    if not EMBEDDED_POSTGRES:
        raise SettingError(
            f"{name} is required when DATABASE_URL is set; "
            "docs/settings.md shows how to make one."
        )
    path = env.private_folder(DATA_DIR) / file_name
    if (
        file_name == "keychain_keys"
        and EMBEDDED_PATHS.cluster.exists()
        and not path.exists()
    ):
        raise SettingError(
            f"{path} is missing although the database beside it exists; put the file "
            "back, because without it nothing in the keychain can be opened."
        )
    return env.kept_secret(path, fresh)


SECRET_KEY = _secret("SECRET_KEY", "secret_key", env.fresh_secret_key())
KEYCHAIN_KEYS = env.keychain_keys(
    "KEYCHAIN_KEYS",
    _secret("KEYCHAIN_KEYS", "keychain_keys", env.fresh_keychain_keys()),
)

# Database -------------------------------------------------------------------

DATABASE_ADDRESS = EXTERNAL_DATABASE or env.DatabaseAddress(
    name=DATABASE,
    host=str(EMBEDDED_PATHS.postgres_run),
    port=POSTGRES_PORT,
    user=ROLE,
    password="",
)
DATABASES = {
    "default": database_settings(
        DATABASE_ADDRESS,
        Timeouts(
            statement_ms=env.integer("NOTIFYWEB_STATEMENT_TIMEOUT_MS", 30_000),
            lock_ms=env.integer("NOTIFYWEB_LOCK_TIMEOUT_MS", 5_000),
        ),
        pool=env.integer("NOTIFYWEB_DATABASE_POOL", 0, highest=1000),
    )
}
# Daphne runs each request in a thread of its own; a pool keeps those threads from
# opening a connection each. ``notifyweb.asgi`` applies it, in the web process only.
WEB_DATABASE_POOL = env.integer("NOTIFYWEB_DATABASE_POOL", 10, highest=1000)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Redis: hints, queues and counters; all of it may be lost ----------------------

REDIS = EXTERNAL_REDIS or RedisAddress(path=str(EMBEDDED_PATHS.redis_socket))
REDIS_URL = REDIS.url
# Blocking reads outlast the library's default timeout of five seconds, which would close
# every channel that is idle for that long.
REDIS_TIMEOUT_S = 30
CHANNEL_LAYERS = {
    "default": {
        # PUBLISH loses messages without a subscriber; ours are hints, so that is fine.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [
                {
                    "address": REDIS_URL,
                    "socket_timeout": REDIS_TIMEOUT_S,
                    "socket_connect_timeout": 5,
                    "max_connections": 10_000,
                }
            ],
            "prefix": "asgi",
        },
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "cache",
        "OPTIONS": {
            "socket_timeout": 2,
            "socket_connect_timeout": 2,
            "max_connections": 1_000,
        },
    }
}

# Apps -----------------------------------------------------------------------

OUR_APPS = [
    "accounts",
    "keychain",
    "runlog",
    "relayserver",
    "messaging",
    "identity",
    "history",
    "syncstore",
    "preferences",
    "subscriptions",
    "castserver",
    "alerts",
    "portability",
    "dashboard",
    "demonstration",
]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "notifyweb.apps.CollectedFilesConfig",
    "channels",
    "csp",
    "django_celery_beat",
    "django_htmx",
    "lucide",
    "notifyweb",
    *OUR_APPS,
]
MIDDLEWARE = [
    "notifyweb.metrics.RequestMetrics",
    "notifyweb.middleware.RequestIdentity",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    # Adds a random number of bytes to each response, and each contains a freshly masked
    # CSRF token, so that lengths reveal no secrets (BREACH).
    "django.middleware.gzip.GZipMiddleware",
    "notifyweb.middleware.NeutralizeBidi",
    "csp.middleware.CSPMiddleware",
    "notifyweb.middleware.PlainPaths",
    "notifyweb.middleware.MethodNotAllowed",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "notifyweb.middleware.Probes",
    "notifyweb.middleware.RejectNullBytes",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.RollingSessionMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "notifyweb.middleware.RequestCosts",
    "notifyweb.middleware.DatabaseUnavailable",
]
ROOT_URLCONF = "notifyweb.urls"
ASGI_APPLICATION = "notifyweb.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            # {% translate %} in every template without {% load i18n %}.
            "builtins": ["django.templatetags.i18n"],
        },
    }
]
AUTH_USER_MODEL = "accounts.User"
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "/signin"
LOGIN_REDIRECT_URL = "/inbox"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]

# Static files ---------------------------------------------------------------

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = DATA_DIR / "static" if EMBEDDED_POSTGRES else BASE_DIR / "staticfiles"
_storage = "django.contrib.staticfiles.storage.StaticFilesStorage"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": _storage if DEBUG else "notifyweb.static.HashedStorage",
    },
}

WHITENOISE_USE_FINDERS = DEBUG

# Security -------------------------------------------------------------------

ALLOWED_HOSTS = env.names("ALLOWED_HOSTS", (PUBLIC_HOST,))
if EMBEDDED_POSTGRES:
    ALLOWED_HOSTS = sorted({*ALLOWED_HOSTS, *LOOPBACK_NAMES})
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
# Origins that may open the browser socket, on a developer's machine all loopback names.
BROWSER_ORIGINS = [PUBLIC_URL]
if EMBEDDED_POSTGRES:
    BROWSER_ORIGINS += [f"http://{name}:{PORT}" for name in LOOPBACK_NAMES]
TRUSTED_PROXIES = env.integer("NOTIFYWEB_TRUSTED_PROXIES", 0, highest=10)
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_NAME = "__Host-session" if PUBLIC_HTTPS else "session"
SESSION_COOKIE_AGE = 7 * DAY
SESSION_COOKIE_SECURE = PUBLIC_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_ABSOLUTE_AGE = 30 * DAY
CSRF_COOKIE_NAME = "__Host-csrf" if PUBLIC_HTTPS else "csrf"
CSRF_COOKIE_SECURE = PUBLIC_HTTPS
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "notifyweb.errors.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 365 * DAY if PUBLIC_HTTPS else 0
X_FRAME_OPTIONS = "DENY"

# Limits ---------------------------------------------------------------------

OUTBOUND_ALLOW = env.outbound_allow(BIND, is_embedded=EMBEDDED_POSTGRES)
try:
    LIMITS = configured_limits(
        env.text("NOTIFYWEB_LIMITS"),
        demo=DEMO,
        strict_spam_rule=env.flag("NOTIFYWEB_STRICT_SPAM_RULE", default=False),
    )
except ValueError as error:
    raise SettingError(f"NOTIFYWEB_LIMITS: {error}.") from None
DATA_UPLOAD_MAX_MEMORY_SIZE = LIMITS.json_body_bytes

# Mail -----------------------------------------------------------------------

_mail = env.mail_address("EMAIL_URL")
EMAIL_BACKEND = _mail.backend
EMAIL_HOST = _mail.host
EMAIL_PORT = _mail.port
EMAIL_HOST_USER = _mail.user
EMAIL_HOST_PASSWORD = _mail.password
EMAIL_USE_TLS = _mail.tls
EMAIL_USE_SSL = _mail.ssl
# Below the lease of a digest.
EMAIL_TIMEOUT = 20
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", f"notifyweb@{PUBLIC_HOST}")

# Celery ---------------------------------------------------------------------

CELERY_BROKER_URL = REDIS.celery_url
CELERY_BROKER_USE_SSL = REDIS.celery_tls
CELERY_TASK_DEFAULT_QUEUE = task_queues.MESSAGES
# A worker started without --queues takes from all of them.
CELERY_TASK_QUEUES = task_queues.broker_queues()
CELERY_TASK_ROUTES = task_queues.ROUTES
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
# Below the 60 s for which claimed rows are leased.
CELERY_TASK_SOFT_TIME_LIMIT = 45
CELERY_TASK_TIME_LIMIT = 55
CELERY_TASK_PUBLISH_RETRY = False
# A prefetched task would wait behind the running one, ahead of more urgent queues.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_MAX_TASKS_PER_CHILD = 20_000
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CONSUMER = "notifyweb.celery_consumer:Consumer"
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_POOL_LIMIT = 20
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Longer than any task takes (600 s), so that none is delivered again while it runs.
    # What a killed worker had taken is found by the sweeps long before.
    "visibility_timeout": 660,
    "socket_timeout": REDIS_TIMEOUT_S,
    "socket_connect_timeout": 5,
    "health_check_interval": 10,
    "socket_keepalive": not REDIS_URL.startswith("unix://"),
    "global_keyprefix": "celery:",
    "queue_order_strategy": "sorted",
    # Starting a task is a hint: a request must not wait for an unavailable Redis.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0,
    "interval_max": 0,
}
CELERY_BEAT_SCHEDULER = "notifyweb.beat.SingleScheduler"
CELERY_BEAT_SCHEDULE = beat_schedule()
CELERY_BEAT_MAX_LOOP_INTERVAL = 3
DJANGO_CELERY_BEAT_TZ_AWARE = True

# Debug pages ----------------------------------------------------------------

DEFAULT_EXCEPTION_REPORTER = "notifyweb.debug_pages.RedactedReporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "notifyweb.debug_pages.RedactedReports"

# Logs -----------------------------------------------------------------------

LOGGING = configuration(
    level=env.choice(
        "NOTIFYWEB_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")
    ),
    form=env.choice(
        "NOTIFYWEB_LOG_FORMAT", "json" if PRODUCTION else "text", ("text", "json")
    ),
)
SENTRY_DSN = env.text("SENTRY_DSN")
hide(
    SECRET_KEY,
    *(key.partition(":")[2] for key in KEYCHAIN_KEYS),
    DATABASE_ADDRESS.password,
    REDIS.password,
    EMAIL_HOST_PASSWORD,
    SENTRY_DSN,
    *RPC_URLS.values(),
)
