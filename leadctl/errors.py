"""Every error a user can meet: what happened, to which object, and what to do next.

The six families below are the exit codes of DESIGN; a subclass is one cause.
This module uses the standard library only, so that it can be imported from anywhere.
"""

import re
from typing import ClassVar


class LeadctlError(Exception):
    """An error with a message for people, a hint at the next step and a stable code.

    `code` is the class's name in snake_case; it is what `-o json` prints and what scripts test.
    """

    code: ClassVar[str] = "leadctl_error"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


# --- The families: one exit code each -------------------------------------------------------


class OperationFailed(LeadctlError):
    """The operation was tried and failed; exit 1."""


class UsageError(LeadctlError):
    """The command line makes no sense; exit 2."""


class ConfigurationError(LeadctlError):
    """A setting, a file or an installation is wrong or missing; exit 3."""


class ConnectionFailed(LeadctlError):
    """The server cannot be reached, or does not let us do this; exit 4."""


class Refused(LeadctlError):
    """A guard stopped it to keep data safe; exit 5."""


class LockHeld(LeadctlError):
    """Another run holds the lock; exit 6."""


class InvalidFlag(UsageError):
    """A flag has a value that it cannot have."""


# --- Configuration --------------------------------------------------------------------------


class InvalidSetting(ConfigurationError):
    """A setting has a value that it cannot have."""


class UnknownSetting(ConfigurationError):
    """A configuration file has a key that leadctl does not know."""


class UnreadableFile(ConfigurationError):
    """A configuration file cannot be read or parsed."""


class InvalidUrl(ConfigurationError):
    """A database URL cannot be understood."""


class UnknownEnvironment(ConfigurationError):
    """`--env` names an environment that leadctl.toml does not have."""


class UnknownApp(ConfigurationError):
    """`--app` names an app that is neither built in nor declared."""


class NoTarget(ConfigurationError):
    """There is no database to act on."""


class CommandOfUrlFailed(ConfigurationError):
    """The `url_command` of an environment failed or printed nothing usable."""


class ModelsNotImportable(ConfigurationError):
    """The models, seed or migrations that an app names cannot be loaded."""


class ModelsNotFound(ConfigurationError):
    """A project has no models that `init` could find, or several to choose from."""


class AlreadyDeclared(Refused):
    """The project is set up already, or a file that would be written is there."""


class MissingExtra(ConfigurationError):
    """The command needs a package that only an extra installs."""


class MissingKey(ConfigurationError):
    """An encrypted column is used and there is no key for it."""


class InvalidKey(ConfigurationError):
    """An encryption key is malformed, or its file cannot be read or is open to others."""


class KeyCommandFailed(ConfigurationError):
    """ENCRYPTION_KEY_COMMAND failed or printed nothing."""


class EmbeddedServerUnusable(ConfigurationError):
    """The folder of the embedded server, or its binaries, cannot be used."""


class PoolerInTransactionMode(ConfigurationError):
    """A pooler in transaction mode stands between leadctl and the server."""


class MigrationsInvalid(ConfigurationError):
    """The folder of revisions is missing, unreadable or not a history."""


# --- Connection -----------------------------------------------------------------------------


class UnknownHost(ConnectionFailed):
    """The host's name does not resolve."""


class ConnectionRefused(ConnectionFailed):
    """Nothing listens there."""


class ConnectionTimeout(ConnectionFailed):
    """The server did not answer within the connect timeout."""


class AuthenticationFailed(ConnectionFailed):
    """The password or the method of authentication was not accepted."""


class UnknownDatabase(ConnectionFailed):
    """The database does not exist and could not be created."""


class InsufficientPrivilege(ConnectionFailed):
    """The role may not do this."""


class ServerNotReady(ConnectionFailed):
    """The server is starting up, shutting down or recovering."""


class TooManyConnections(ConnectionFailed):
    """The server has no connection left."""


class TlsFailed(ConnectionFailed):
    """The encrypted connection could not be made."""


class ConnectionLost(ConnectionFailed):
    """The server went away in the middle."""


class UnsupportedServer(ConnectionFailed):
    """The server is not a PostgreSQL that leadctl supports."""


class EmbeddedServerFailed(ConnectionFailed):
    """The embedded server did not start or stop."""


# --- Data and operations --------------------------------------------------------------------


class StatementFailed(OperationFailed):
    """The server rejected a statement."""


class DecryptionFailed(OperationFailed):
    """A stored value is not what was encrypted: changed, cut short or moved from elsewhere."""


class UnknownKey(OperationFailed):
    """A stored value was encrypted with a key that is not in the keyring."""


class NotEncrypted(OperationFailed):
    """A stored value in an encrypted column is not ciphertext."""


class UnknownRevision(OperationFailed):
    """The database, or the user, names a revision that the folder does not have."""


class RevisionFailed(OperationFailed):
    """A revision stopped with an error."""


class RevisionUnplannable(OperationFailed):
    """The SQL of a revision cannot be had without running it."""


class RevisionMixed(OperationFailed):
    """A revision does a part in a transaction and a part outside."""


class NoPrimaryKey(OperationFailed):
    """A table has no primary key, so its rows cannot be told apart."""


class UnknownReport(UsageError):
    """`stats` names a report that the app does not have."""


class UnknownUser(OperationFailed):
    """`--user` names nobody."""


class DependentObjects(Refused):
    """Something that is not the app's own depends on what would be dropped."""


class InvalidPhoneNumber(OperationFailed):
    """A text that should be a phone number is none."""


class SeedFailed(OperationFailed):
    """The fixtures of an app could not be inserted."""


class NewerState(Refused):
    """The schema `leadctl` was written by a newer leadctl."""


class SchemaTaken(Refused):
    """The schema holds another app's tables."""


class Protected(Refused):
    """The database is protected, and its name was not given as consent."""


class NotConfirmed(Refused):
    """Consent was needed and not given."""
