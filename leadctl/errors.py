"""Every error a user can meet: what happened, to which object, and what to do next.

The six families below are exit codes; a subclass is one cause.
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
    """The command line is not valid; exit 2."""


class ConfigurationError(LeadctlError):
    """A setting, a file or an installation is wrong or missing; exit 3."""


class ConnectionFailed(LeadctlError):
    """The server cannot be reached, or rejected the connection; exit 4."""


class Refused(LeadctlError):
    """A guard stopped it to keep data safe; exit 5."""


class LockHeld(LeadctlError):
    """Another run holds the lock; exit 6."""


class InvalidFlag(UsageError):
    """The value of a flag is not valid."""


# --- Configuration --------------------------------------------------------------------------
class InvalidSetting(ConfigurationError):
    """The value of a setting is not valid."""


class UnknownSetting(ConfigurationError):
    """A configuration file has a key that leadctl does not know."""


class UnreadableFile(ConfigurationError):
    """A configuration file cannot be read or parsed."""


class UntrustedFile(ConfigurationError):
    """A settings file or folder belongs to another user, or others may write to it."""


class InvalidUrl(ConfigurationError):
    """A database URL is not valid."""


class InvalidSchema(ConfigurationError):
    """The schema of an app is reserved by the server or leadctl, or is not a valid name."""


class UnknownSchema(ConfigurationError):
    """The database has no schema of this name."""


class UnknownEnvironment(ConfigurationError):
    """`--env` names an environment that leadctl.toml does not have."""


class UnknownFleet(ConfigurationError):
    """`--fleet` names a fleet that leadctl.toml does not have."""


class EmptyFleet(ConfigurationError):
    """A fleet has no target: its pattern or query matches nothing."""


class NoProject(ConfigurationError):
    """There is no leadctl.toml and no app is named, so the app is not known."""


class UnknownApp(ConfigurationError):
    """`--app` names an app that is neither built in nor declared."""


class NoTarget(ConfigurationError):
    """There is no database to act on."""


class CommandOfUrlFailed(ConfigurationError):
    """The `url_command` of an environment failed, or did not print a URL or password."""


class ModelsNotImportable(ConfigurationError):
    """The models, seed or migrations that an app names cannot be loaded."""


class EnvironmentNotRun(ConfigurationError):
    """A project's own env.py of Alembic cannot be run on leadctl's connection."""


class ModelsNotFound(ConfigurationError):
    """A project has no models that `init` could find, or several to choose from."""


class UndeclaredSchema(ConfigurationError):
    """Models name a schema that is neither the target's nor declared in the app's `schemas`."""


class AlreadyDeclared(Refused):
    """The project is set up already, or a file that would be written exists."""


class MissingExtra(ConfigurationError):
    """The command needs a package that only an extra installs."""


class MissingKey(ConfigurationError):
    """An encrypted column is used, but no encryption key is set."""


class InvalidKey(ConfigurationError):
    """An encryption key is malformed, or its file cannot be read or is readable by others."""


class KeyCommandFailed(ConfigurationError):
    """ENCRYPTION_KEY_COMMAND failed or printed nothing."""


class EmbeddedServerUnusable(ConfigurationError):
    """The folder of the embedded server, or its binaries, cannot be used."""


class PoolerInTransactionMode(ConfigurationError):
    """A pooler in transaction mode stands between leadctl and the server."""


class MigrationsInvalid(ConfigurationError):
    """The migrations folder is missing or unreadable, or its revisions do not join."""


class CollidingRevisions(ConfigurationError):
    """Two revision files have the same id, and it is not known which one was applied."""


class NotAReplica(ConfigurationError):
    """The replica that leadctl.toml names is not a standby."""


class InvalidRule(ConfigurationError):
    """A retention rule contradicts itself, or does not fit the database."""


class InvalidRecipient(ConfigurationError):
    """A recipient of backups is not an age or SSH public key."""


class InvalidIdentity(ConfigurationError):
    """The private key file is malformed, readable by others, or not the one that is needed."""


class MissingClient(ConfigurationError):
    """No pg_dump or pg_restore here is new enough for the server or the backup."""


class MissingProgram(ConfigurationError):
    """An external program is not installed on this machine."""


class PitrNotSetUp(ConfigurationError):
    """The folder has no archive for point-in-time recovery, or one that cannot be read."""


class PitrFolderTaken(Refused):
    """The folder holds the archive of another server."""


class BackupFolderUnusable(ConfigurationError):
    """The backup folder cannot be written to or read."""


# --- Connection -----------------------------------------------------------------------------
class UnknownHost(ConnectionFailed):
    """The host's name does not resolve."""


class ConnectionRefused(ConnectionFailed):
    """No server listens on that host and port."""


class ConnectionTimeout(ConnectionFailed):
    """The server did not answer within the connect timeout."""


class AuthenticationFailed(ConnectionFailed):
    """The server did not accept the password or the authentication method."""


class UnknownDatabase(ConnectionFailed):
    """The database does not exist and could not be created."""


class InsufficientPrivilege(ConnectionFailed):
    """The role may not do this."""


class ServerNotReady(ConnectionFailed):
    """The server is starting up, shutting down or recovering."""


class TooManyConnections(ConnectionFailed):
    """The server has no connection left."""


class TlsFailed(ConnectionFailed):
    """The TLS connection could not be made."""


class ConnectionLost(ConnectionFailed):
    """The connection was lost during the operation."""


class UnsupportedServer(ConnectionFailed):
    """leadctl does not support this server, or its version of PostgreSQL."""


class EmbeddedServerFailed(ConnectionFailed):
    """The embedded server did not start or stop."""


# --- Data and operations --------------------------------------------------------------------
class StatementFailed(OperationFailed):
    """The server rejected a statement."""


class ReadOnly(StatementFailed):
    """The server accepts no changes: it is a standby, or the role or database is read-only."""


class DecryptionFailed(OperationFailed):
    """A stored value cannot be decrypted: it was changed, cut short or moved from elsewhere."""


class UnknownKey(OperationFailed):
    """A stored value was encrypted with a key that is not in the keyring."""


class NotEncrypted(OperationFailed):
    """A stored value in an encrypted column is not ciphertext."""


class UnknownRevision(OperationFailed):
    """The migrations folder does not have the revision that the database or the user names."""


class RevisionEdited(OperationFailed):
    """The file of an applied revision was changed after it was applied."""


class RevisionMissing(OperationFailed):
    """An applied revision has no file any more."""


class RowsWithoutValue(OperationFailed):
    """Existing rows have no value for a column that becomes required."""


class RowsInTheWay(OperationFailed):
    """Existing rows violate the schema that is to be applied."""


class IndexInvalid(OperationFailed):
    """An index that was built CONCURRENTLY cannot be used."""


class RevisionFailed(OperationFailed):
    """A revision stopped with an error."""


class RevisionUnplannable(OperationFailed):
    """A revision cannot be rendered as SQL offline."""


class RevisionMixed(OperationFailed):
    """A revision mixes transactional and non-transactional statements."""


class RotationFailed(OperationFailed):
    """Not all values could be re-encrypted."""


class NoPrimaryKey(OperationFailed):
    """A table has no primary key, so its rows cannot be told apart."""


class UnknownReport(UsageError):
    """`stats` or `inspect` names a report that does not exist."""


class UnknownCheck(UsageError):
    """`health-check` names a check that does not exist."""


class UnknownTable(UsageError):
    """The schema has no table or view of this name."""


class UnknownColumn(UsageError):
    """The table has no column of this name."""


class UnknownRelation(UsageError):
    """`studio --follow` names something that is not a foreign key of the table, or to it."""


class NeededTable(UsageError):
    """A table cannot be left out of a backup: something in the backup needs it."""


class InvalidFilter(UsageError):
    """`studio` is asked for rows in words that it cannot read, or that do not fit the columns."""


class RowNotFound(OperationFailed):
    """There is no row with that key, or it is not marked as deleted."""


class AmbiguousRow(UsageError):
    """The id that was given begins the ids of more than one row."""


class UnknownUser(OperationFailed):
    """`--user` matches no user."""


class DependentObjects(Refused):
    """An object outside the app depends on what would be dropped."""


class InvalidPhoneNumber(OperationFailed):
    """A text is not a valid phone number."""


class SeedFailed(OperationFailed):
    """The fixtures of an app could not be inserted."""


class UnknownRule(UsageError):
    """`--rule` names a retention rule that the app does not have."""


class ArchiveFailed(OperationFailed):
    """Rows could not be archived, and were not deleted."""


class ArchiveDamaged(OperationFailed):
    """An archive was changed or cut short, or its rows do not fit the database."""


class UnindexedForeignKey(Refused):
    """Deleting would scan a table for every row: a foreign key without an index refers here."""


class ClockSkew(Refused):
    """The clocks of server and client differ too much to tell how old a row is."""


class FuseBlown(Refused):
    """A retention rule would take more rows than it may without consent."""


class CannotPartition(Refused):
    """The table cannot be partitioned: its keys, foreign keys or kind do not allow it."""


class CannotInfer(OperationFailed):
    """Synthetic values cannot be made for a column: its type and constraints do not say enough."""


class UnknownBackup(OperationFailed):
    """No backup has this id, or more than one begins with it."""


class BackupFailed(OperationFailed):
    """A backup could not be made; no incomplete one is left in the list."""


class BackupDamaged(OperationFailed):
    """A backup is not what was written: changed, cut short or swapped with another."""


class RestoreFailed(OperationFailed):
    """A backup could not be loaded."""

    command = ""
    """The statement of pg_restore's that the server refused, where it is one."""


class BarmanFailed(OperationFailed):
    """A program of Barman's failed."""


class RecoveryFailed(OperationFailed):
    """A server could not be recovered to a moment."""


class MomentOutOfReach(OperationFailed):
    """The archive does not cover that moment."""


class UnknownRun(OperationFailed):
    """The history has no run with that number."""


class UnreadableDump(OperationFailed):
    """The file is not of a kind that leadctl can restore."""


class UnknownEntry(UsageError):
    """An archive has no entry of the name given to --skip."""


class NotOnThisMachine(UsageError):
    """A local folder or file is needed, but a URL of object storage was given."""


class OptionNotForScripts(UsageError):
    """An option does not apply to an SQL script, only to an archive."""


class OutsideStatement(Refused):
    """An SQL script ends its own transaction, or acts outside of its database."""


class NoSpace(OperationFailed):
    """There is not enough disk space for the operation."""


class OlderServer(OperationFailed):
    """A backup was made with a newer PostgreSQL than the server that it should be restored on."""


class MissingExtension(OperationFailed):
    """A backup or a report needs an extension that the database does not have."""


class MissingLocale(OperationFailed):
    """A backup has collations or dictionaries that the server does not have the files of."""


class MissingRole(OperationFailed):
    """A backup has objects of roles that the server does not have."""


class TableNotInBackup(OperationFailed):
    """The table is not in the backup, or not in the database."""


class UnknownKept(OperationFailed):
    """The name is not one that a restore of this database kept."""


class DatabaseInUse(OperationFailed):
    """A database cannot be replaced: something uses it that cannot be ended."""


class DatabaseExists(Refused):
    """The database that should be created exists already."""


class RelationExists(Refused):
    """An object with the name of one that should be restored exists already."""


class UnitTaken(Refused):
    """A systemd unit of this name exists and belongs to another project."""


class SchemaExists(Refused):
    """The schema that should be created exists already."""


class InvalidTenantName(UsageError):
    """The name is not allowed for a tenant's schema."""


class TargetDropped(OperationFailed):
    """A target of a fleet was dropped during the run."""


class UnknownTenant(OperationFailed):
    """The database has no tenant of this name."""


class NotOnCitus(Refused):
    """The command is not supported on a Citus cluster, or not all of its nodes can be reached."""


class MoveFailed(OperationFailed):
    """A tenant could not be moved; it is open where it was, or the message says how it stands."""


class TenantMoving(Refused):
    """A tenant is closed because a move did not finish."""


class HookFailed(OperationFailed):
    """A command that follows a backup failed; the backup itself is whole."""


class Irreversible(Refused):
    """A revision cannot be undone."""


class NewerState(Refused):
    """The schema `leadctl` was written by a newer leadctl."""


class SchemaTaken(Refused):
    """The schema holds another app's tables."""


class Protected(Refused):
    """The database is protected, and was not confirmed with --confirm NAME."""


class NoIdentity(Refused):
    """A database that has tables has no recorded environment, or one that cannot be read."""


class PreparedSchema(Refused):
    """Something in the schema leadctl was made by a role that is not trusted."""


class NotConfirmed(Refused):
    """Confirmation was needed, and not given."""


class Declined(NotConfirmed):
    """The question was answered with no; nothing was changed."""
