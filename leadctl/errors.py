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


class UntrustedFile(ConfigurationError):
    """A file or folder that settings come from belongs to somebody else, or others may write it."""


class InvalidUrl(ConfigurationError):
    """A database URL cannot be understood."""


class InvalidSchema(ConfigurationError):
    """The schema of an app is reserved by the server or leadctl, or is not a valid name."""


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
    """The `url_command` of an environment failed or printed nothing usable."""


class ModelsNotImportable(ConfigurationError):
    """The models, seed or migrations that an app names cannot be loaded."""


class EnvironmentNotRun(ConfigurationError):
    """A project's own env.py of Alembic cannot be run on leadctl's connection."""


class ModelsNotFound(ConfigurationError):
    """A project has no models that `init` could find, or several to choose from."""


class UndeclaredSchema(ConfigurationError):
    """Models name a schema that is neither the target's nor among the app's."""


class AlreadyDeclared(Refused):
    """The project is set up already, or a file that would be written exists."""


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


class CollidingRevisions(ConfigurationError):
    """Two files of a history have one id, and nothing tells which of them keeps it."""


class NotAReplica(ConfigurationError):
    """The replica that leadctl.toml names is no standby."""


class InvalidRule(ConfigurationError):
    """A retention rule does not fit itself or the database."""


class InvalidRecipient(ConfigurationError):
    """A recipient of backups is not an age or SSH public key."""


class InvalidIdentity(ConfigurationError):
    """The identity file is malformed, open to others, or not the one that is needed."""


class MissingClient(ConfigurationError):
    """No pg_dump or pg_restore here is new enough for the server or the backup."""


class MissingProgram(ConfigurationError):
    """A program of others is not installed here."""


class PitrNotSetUp(ConfigurationError):
    """There is no archive for point in time in the folder, or one that cannot be read."""


class PitrFolderTaken(Refused):
    """The folder is the archive of another server."""


class BackupFolderUnusable(ConfigurationError):
    """The backup folder cannot be written to or read."""


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


class ReadOnly(StatementFailed):
    """The server takes no changes: a standby, or a role or database that is set to read only."""


class DecryptionFailed(OperationFailed):
    """A stored value cannot be decrypted: it was changed, cut short or moved from elsewhere."""


class UnknownKey(OperationFailed):
    """A stored value was encrypted with a key that is not in the keyring."""


class NotEncrypted(OperationFailed):
    """A stored value in an encrypted column is not ciphertext."""


class UnknownRevision(OperationFailed):
    """The database, or the user, names a revision that the folder does not have."""


class RevisionEdited(OperationFailed):
    """The file of an applied revision was changed: it differs from what was applied."""


class RevisionMissing(OperationFailed):
    """An applied revision has no file any more."""


class RowsWithoutValue(OperationFailed):
    """Rows have nothing in a column that is required from now on."""


class RowsInTheWay(OperationFailed):
    """Rows are not what a schema would have them be."""


class IndexInvalid(OperationFailed):
    """An index that was built CONCURRENTLY cannot be used."""


class RevisionFailed(OperationFailed):
    """A revision stopped with an error."""


class RevisionUnplannable(OperationFailed):
    """A revision cannot be rendered as SQL offline."""


class RevisionMixed(OperationFailed):
    """A revision does a part in a transaction and a part outside."""


class RotationFailed(OperationFailed):
    """Values could not be re-encrypted to the end."""


class NoPrimaryKey(OperationFailed):
    """A table has no primary key, so its rows cannot be told apart."""


class UnknownReport(UsageError):
    """`stats` or `inspect` names a report that there is not."""


class UnknownCheck(UsageError):
    """`health-check` names a check that there is not."""


class UnknownTable(UsageError):
    """A table or view is named that the schema does not have."""


class UnknownColumn(UsageError):
    """A column is named that the table does not have."""


class UnknownRelation(UsageError):
    """`studio --follow` names no foreign key of the table, or to it."""


class NeededTable(UsageError):
    """A table is to be left out of a backup, and something that is in it needs the table."""


class InvalidFilter(UsageError):
    """`studio` is asked for rows in words that it cannot read, or that do not fit the columns."""


class RowNotFound(OperationFailed):
    """There is no row with that key, or it is not marked as deleted."""


class AmbiguousRow(UsageError):
    """The beginning of an id fits more than one row."""


class UnknownUser(OperationFailed):
    """`--user` names nobody."""


class DependentObjects(Refused):
    """Something that is not the app's own depends on what would be dropped."""


class InvalidPhoneNumber(OperationFailed):
    """A text that should be a phone number is none."""


class SeedFailed(OperationFailed):
    """The fixtures of an app could not be inserted."""


class UnknownRule(UsageError):
    """`--rule` names a retention rule that the app does not have."""


class ArchiveFailed(OperationFailed):
    """Rows could not be archived, so they were not deleted."""


class ArchiveDamaged(OperationFailed):
    """An archive was changed or cut short, or its rows do not fit the database."""


class UnindexedForeignKey(Refused):
    """Deleting would scan a table for every row: a foreign key without an index refers here."""


class ClockSkew(Refused):
    """The clocks of server and client differ too much to tell how old a row is."""


class FuseBlown(Refused):
    """A retention rule would take more rows than it may without consent."""


class CannotPartition(Refused):
    """A table's keys, foreign keys or kind do not allow it to be partitioned."""


class CannotInfer(OperationFailed):
    """A column's type and constraints do not say what could be in it."""


class UnknownBackup(OperationFailed):
    """There is no such backup, or more than one that is meant."""


class BackupFailed(OperationFailed):
    """A backup could not be made; nothing of it is left under a final name."""


class BackupDamaged(OperationFailed):
    """A backup is not what was written: changed, cut short or swapped with another."""


class RestoreFailed(OperationFailed):
    """A backup could not be loaded."""

    command = ""
    """The statement of pg_restore's that the server refused, where it is one."""


class BarmanFailed(OperationFailed):
    """A program of Barman's failed."""


class RecoveryFailed(OperationFailed):
    """A server did not come back as of a moment."""


class MomentOutOfReach(OperationFailed):
    """The archive does not reach back, or on, to that moment."""


class UnknownRun(OperationFailed):
    """The journal has no run of that number."""


class UnreadableDump(OperationFailed):
    """A file is of a kind that leadctl does not restore from."""


class UnknownEntry(UsageError):
    """An archive has no entry of the name that is to be skipped."""


class NotOnThisMachine(UsageError):
    """A folder or file of this machine is wanted, and what was given is in object storage."""


class OptionNotForScripts(UsageError):
    """A script of SQL runs as it is written, without the options that an archive has."""


class OutsideStatement(Refused):
    """A script of SQL ends the transaction it runs in, or reaches out of its database."""


class NoSpace(OperationFailed):
    """A disk has less space left than an operation needs."""


class OlderServer(OperationFailed):
    """A backup is of a newer PostgreSQL than the server that it was to be restored on."""


class MissingExtension(OperationFailed):
    """A backup or a report needs an extension that the database does not have."""


class MissingRole(OperationFailed):
    """A backup has objects of roles that the server does not have."""


class TableNotInBackup(OperationFailed):
    """A table that is named is not in the backup, or not in the database."""


class UnknownKept(OperationFailed):
    """What is to be dropped was not left by a restore of this database."""


class DatabaseInUse(OperationFailed):
    """A database has sessions that cannot be ended, so it cannot be replaced."""


class DatabaseExists(Refused):
    """A database that is to be created exists already."""


class RelationExists(Refused):
    """A table, an index or the like has the name of one that is to come back."""


class UnitTaken(Refused):
    """A unit of systemd that is to be written is there, and another project's."""


class SchemaExists(Refused):
    """A schema that is to be created exists already."""


class InvalidTenantName(UsageError):
    """A tenant is to have a name that a tenant's schema cannot have."""


class TargetDropped(OperationFailed):
    """A target of a fleet was dropped while the fleet's run went on."""


class UnknownTenant(OperationFailed):
    """A tenant is named that the database does not have."""


class NotOnCitus(Refused):
    """Something would leave a Citus cluster's tables undistributed, so it is not done there."""


class MoveFailed(OperationFailed):
    """A tenant could not be moved; it is open where it was, or the message says how it stands."""


class TenantMoving(Refused):
    """A tenant is closed by a move that did not end."""


class HookFailed(OperationFailed):
    """A command that follows a backup failed; the backup itself is whole."""


class Irreversible(Refused):
    """A revision cannot be undone."""


class NewerState(Refused):
    """The schema `leadctl` was written by a newer leadctl."""


class SchemaTaken(Refused):
    """The schema holds another app's tables."""


class Protected(Refused):
    """The database is protected, and its name was not given as consent."""


class NoIdentity(Refused):
    """A database that has tables does not say which one it is, or says it wrongly."""


class PreparedSchema(Refused):
    """Something in the schema leadctl was made by a role that is not trusted."""


class NotConfirmed(Refused):
    """Consent was needed and not given."""


class Declined(NotConfirmed):
    """Somebody was asked and said no: no fault of anything."""
