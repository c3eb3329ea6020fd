"""Pure. Every trouble a person can meet, by the id that is printed with it, and what each exit code means.

`syncd help SY-PAIR-03` prints an entry; an error that says nothing better for itself borrows its `why` and `fix`. Ids
are a promise: people search for them and scripts compare them, so an id is never given a second meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from ca.values import dataclass
from syncd.errors import (
    ConfigError,
    PeerUnavailable,
    RemoteProtocolError,
    StoreBusy,
    StoreCorrupt,
    SyncdError,
    TrustError,
)


class Exit(IntEnum):
    """What the command line answers to the shell."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PARTLY = 3
    NOT_IN_SYNC = 4
    NOT_RUNNING = 5
    NOT_ALLOWED = 6
    NOT_FOUND = 7
    REFUSED = 8
    PAIRING = 9
    UNREACHABLE = 10
    CONFIG = 11
    NEWER_DATABASE = 12
    INTEGRITY = 13
    INTERRUPTED = 130


EXIT_MEANING: Mapping[Exit, str] = MappingProxyType(
    {
        Exit.DONE: "done",
        Exit.FAILED: "failed; the message says why",
        Exit.USAGE: "wrong use, or an answer is needed that nobody could give",
        Exit.PARTLY: "partly done: some files failed, the list is printed",
        Exit.NOT_IN_SYNC: "not in sync, or timed out (wait, status --check)",
        Exit.NOT_RUNNING: "the daemon is not running",
        Exit.NOT_ALLOWED: "not allowed: role, permission, expired or revoked certificate",
        Exit.NOT_FOUND: "no such folder, peer, member, invite, request or file",
        Exit.REFUSED: "refused, to protect data",
        Exit.PAIRING: "pairing failed: wrong, used, denied or expired code",
        Exit.UNREACHABLE: "a peer could not be reached",
        Exit.CONFIG: "the configuration is not valid",
        Exit.NEWER_DATABASE: "the database was written by a newer syncd",
        Exit.INTEGRITY: "an integrity check failed: hash or signature",
        Exit.INTERRUPTED: "interrupted (143: terminated)",
    }
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One entry: `title` is the first line of an error without a better one, `why` the second, `fix` the third."""

    id: str
    exit: Exit
    title: str
    why: str
    fix: str


_ENTRIES = (
    # --- how the command was used
    Trouble(
        "SY-USE-01",
        Exit.USAGE,
        "the command is not understood",
        "A word or flag is unknown, missing, or has a value that does not fit.",
        "syncd help",
    ),
    Trouble(
        "SY-USE-02",
        Exit.USAGE,
        "an answer is needed",
        "The command has a question, but there is no terminal to ask on, or --no-input was given.",
        "give the flag that the message names, for example --yes",
    ),
    Trouble(
        "SY-USE-03",
        Exit.FAILED,
        "nothing was changed",
        "The question was answered with no.",
        "run the command again when you are sure",
    ),
    # --- home and daemon
    Trouble(
        "SY-HOME-01",
        Exit.FAILED,
        "another syncd uses this home",
        "Two daemons on one home would write to the same databases.",
        "syncd stop, or choose another home with --home",
    ),
    Trouble(
        "SY-HOME-02",
        Exit.NOT_RUNNING,
        "syncd is not running",
        "Nothing answers on the control socket of this home.",
        "syncd run",
    ),
    Trouble(
        "SY-HOME-03",
        Exit.FAILED,
        "the daemon did not start",
        "It ended, or did not answer on its control socket in time; its log says why.",
        "read daemon.log in the home, or start it in the foreground:  syncd run",
    ),
    Trouble(
        "SY-HOME-04",
        Exit.NOT_ALLOWED,
        "this home belongs to somebody else",
        "The home holds private keys, so it must belong to the user who runs syncd.",
        "run syncd as that user, or choose another home with --home",
    ),
    Trouble(
        "SY-HOME-05",
        Exit.FAILED,
        "the daemon gave no valid answer",
        "The connection ended too early, it has much to do just now, or it is of another version.",
        "ask again in a while; if it stays so:  syncd stop, then start it again",
    ),
    Trouble(
        "SY-HOME-06",
        Exit.FAILED,
        "the home cannot be used",
        "It cannot be made, read or written.",
        "check the path and its permissions, or choose another with --home",
    ),
    Trouble(
        "SY-KEY-01",
        Exit.CONFIG,
        "the key file of this device is damaged",
        "Without its keys this device is nobody; a new identity is never made silently.",
        "put the key file back from a backup",
    ),
    Trouble(
        "SY-KEY-02",
        Exit.NOT_ALLOWED,
        "the key file is open to others",
        "Private keys must belong to the user who runs syncd, and nobody else may read them.",
        "change its owner or its mode to 0600; if others could read it, remove this device from its folders",
    ),
    Trouble(
        "SY-KEY-08",
        Exit.FAILED,
        "a folder's certificate ends soon",
        "Nobody who may has changed its keys for months. When the certificate ends, nothing is exchanged.",
        "syncd rotate FOLDER, as an owner or admin",
    ),
    Trouble(
        "SY-KEY-09",
        Exit.FAILED,
        "a device has keys that it does not use",
        "It was not seen for three months, and gets every new key all the same. It may be lost.",
        "syncd device archive FOLDER DEVICE, if it is not used any more",
    ),
    Trouble(
        "SY-KEY-03",
        Exit.FAILED,
        "the key file cannot be used",
        "It cannot be read or written, or it is no plain file.",
        "check who may read and write there",
    ),
    Trouble(
        "SY-KEY-04",
        Exit.USAGE,
        "the backup cannot be sealed",
        "It holds the keys of this device, so it is written only behind a long passphrase or the recovery key.",
        "take some random words, or:  syncd key backup FILE --recovery",
    ),
    Trouble(
        "SY-KEY-05",
        Exit.CONFIG,
        "the backup of a device cannot be opened",
        "It is no backup, it was changed, or it was sealed by something else.",
        "check the file, and what it was sealed by",
    ),
    Trouble(
        "SY-KEY-06",
        Exit.CONFIG,
        "a restore of a device was not finished",
        "Keys and database come back together or not at all.",
        "run it again:  syncd key restore FILE",
    ),
    Trouble(
        "SY-KEY-07",
        Exit.REFUSED,
        "there is a device in this home already",
        "No identity is ever overwritten.",
        "name another home:  syncd --home DIR key restore FILE",
    ),
    Trouble(
        "SY-KEY-10",
        Exit.NOT_ALLOWED,
        "the keys of this device are locked",
        "A passphrase locks them, and it was not said since syncd was started.",
        "syncd key unlock",
    ),
    Trouble(
        "SY-KEY-11",
        Exit.NOT_ALLOWED,
        "that was not the passphrase of these keys",
        "Nobody can reset it. It was typed in another way, or it is that of an older copy of this home.",
        "try again; if it is lost: syncd --home NEW key restore a backup, or syncd rescue by the recovery key, or join "
        "again as a new device",
    ),
    Trouble(
        "SY-KEY-12",
        Exit.USAGE,
        "the passphrase is too short",
        "Who has the disk can try passphrases without end.",
        "take some random words, 12 characters at least",
    ),
    Trouble(
        "SY-KEY-13",
        Exit.USAGE,
        "the keys of this device are not in the state for that",
        "They have no passphrase, or they have one already.",
        "syncd key lock sets the first one; syncd key passphrase changes or removes it",
    ),
    Trouble(
        "SY-KEY-14",
        Exit.USAGE,
        "these are not the words of a recovery key",
        "A word was mistyped, left out or moved; the last one checks all others.",
        "compare them with the paper, word by word",
    ),
    Trouble(
        "SY-KEY-15",
        Exit.REFUSED,
        "a backup of another device is there",
        "It may be the only one of that device, so only a backup of this very device is replaced by another.",
        "name another file",
    ),
    Trouble(
        "SY-CONF-01",
        Exit.CONFIG,
        "the configuration is not valid",
        "config.toml has a line that syncd does not understand.",
        "correct the line that the message names",
    ),
    Trouble(
        "SY-CONF-02",
        Exit.CONFIG,
        "the configuration cannot be read",
        "config.toml is there, but it cannot be opened or is not TOML.",
        "correct the file, or its permissions",
    ),
    Trouble(
        "SY-CONF-03",
        Exit.CONFIG,
        "a rule of .syncd/ignore is not understood",
        "The line is not a rule as git has them; it is left out, and the others hold.",
        "correct the line that the message names, or remove it",
    ),
    Trouble(
        "SY-NET-01",
        Exit.FAILED,
        "the port is taken",
        "Another program listens on the address that config.toml names.",
        "stop that program, or change [network] listen in config.toml",
    ),
    Trouble(
        "SY-NET-02",
        Exit.CONFIG,
        "the address is not of this machine",
        "config.toml names an address to listen on that no network card has.",
        "change [network] listen in config.toml",
    ),
    Trouble(
        "SY-NET-03",
        Exit.UNREACHABLE,
        "other computers are not found by themselves",
        "This network, or a firewall here, does not pass multicast. What is known by its address goes on.",
        "allow UDP port 5353, or name the others in config.toml:  [network] peers",
    ),
    # --- pairing
    Trouble(
        "SY-PAIR-01",
        Exit.UNREACHABLE,
        "nobody announces this code",
        "The other machine is not on this network, is asleep, or the code has ended.",
        "give its address with --via HOST:PORT, or ask for a link:  syncd share --link",
    ),
    Trouble(
        "SY-PAIR-02",
        Exit.USAGE,
        "this is no code and no link",
        "A code looks like 7-guitar-uncle-merit; a link starts with syncd:",
        "check what was typed",
    ),
    Trouble(
        "SY-PAIR-03",
        Exit.PAIRING,
        "the code was not accepted",
        "A word is wrong, or the code was used. Codes work once; the other side was told.",
        "ask for a new code there:  syncd share",
    ),
    Trouble(
        "SY-PAIR-04",
        Exit.PAIRING,
        "the invitation has expired",
        "Codes last 15 minutes, links as long as they said.",
        "ask for a new one:  syncd share",
    ),
    Trouble(
        "SY-PAIR-05",
        Exit.PAIRING,
        "the request was denied",
        "The person on the other side said no.",
        "talk to them, then ask for a new code",
    ),
    Trouble(
        "SY-PAIR-06",
        Exit.FAILED,
        "this device is already a member",
        "The folder of this invitation is already here.",
        "syncd folders",
    ),
    Trouble(
        "SY-PAIR-07",
        Exit.PAIRING,
        "the code is burnt",
        "Three wrong guesses end a code, so that nobody can try them all.",
        "make a new code:  syncd share",
    ),
    Trouble(
        "SY-PAIR-08",
        Exit.UNREACHABLE,
        "the inviting device could not be reached",
        "None of its addresses answered.",
        "check that syncd runs there and that its port can be reached",
    ),
    Trouble(
        "SY-PAIR-09",
        Exit.FAILED,
        "the join was forgotten",
        "Too much time passed, or the daemon was started again in between.",
        "syncd join",
    ),
    Trouble(
        "SY-PAIR-10",
        Exit.PAIRING,
        "the invitation was revoked or used up",
        "Its maker took it back, it had no joins left, or this device has joined by it before.",
        "ask for a new one:  syncd share",
    ),
    # --- sharing and joining: where
    Trouble(
        "SY-SHARE-01",
        Exit.NOT_FOUND,
        "there is nothing to share",
        "Neither a directory nor a folder of that name is here.",
        "check the path, or see what is shared:  syncd folders",
    ),
    Trouble(
        "SY-SHARE-02",
        Exit.REFUSED,
        "this place cannot be a folder",
        "The root of the file system and the home of syncd are never shared.",
        "choose another directory",
    ),
    Trouble(
        "SY-SHARE-03",
        Exit.REFUSED,
        "folders must not lie inside each other",
        "The path is inside, around, or the same as the root of another folder.",
        "choose a directory outside:  syncd folders shows the roots",
    ),
    Trouble(
        "SY-SHARE-04",
        Exit.NOT_ALLOWED,
        "your role does not allow this",
        "Every device would refuse it: it takes a right that your role here does not give.",
        "ask an owner or admin:  syncd members shows who is one",
    ),
    Trouble(
        "SY-SHARE-07",
        Exit.USAGE,
        "no such right, or not with this role",
        "An editor can be given or denied: delete, links. An admin: any. Others have what their role has.",
        "syncd members --json shows who has what",
    ),
    Trouble(
        "SY-SHARE-05",
        Exit.FAILED,
        "all pairing numbers are in use",
        "Ninety-nine codes are open at once.",
        "revoke some:  syncd invites",
    ),
    Trouble(
        "SY-SHARE-06",
        Exit.USAGE,
        "a folder of that name is here already",
        "Commands name folders, so each has a name of its own on one computer.",
        "give it another name:  syncd share PATH --name NAME",
    ),
    Trouble(
        "SY-SHARE-08",
        Exit.PARTLY,
        "the folder was joined, but not everything could be put in place",
        "Something on this computer, such as a full disk, stands in the way of some files.",
        "syncd status names each of them and what to do; then it goes on by itself",
    ),
    Trouble(
        "SY-FIND-01",
        Exit.NOT_FOUND,
        "not found",
        "Nothing here has that name, id or path.",
        "syncd folders, syncd peers or syncd members show what is known",
    ),
    Trouble(
        "SY-FIND-02",
        Exit.USAGE,
        "more than one fits",
        "The name or the start of the id is not enough to tell them apart.",
        "give more of it, or the id",
    ),
    Trouble(
        "SY-FIND-03",
        Exit.NOT_FOUND,
        "the path lies in no folder",
        "Only what lies below the root of a folder is kept equal.",
        "syncd folders",
    ),
    # --- trust
    Trouble(
        "SY-FIND-04",
        Exit.NOT_FOUND,
        "there is no conflict at this path",
        "Neither the file nor a copy of it has two versions that count.",
        "syncd conflicts",
    ),
    Trouble(
        "SY-FIND-05",
        Exit.FAILED,
        "the folder is not at work",
        "It is paused, or it has stopped.",
        "syncd status",
    ),
    Trouble(
        "SY-FIND-06",
        Exit.NOT_FOUND,
        "there is no such rule",
        "It does not stand in that file, letter by letter: .syncdignore, or with --local .syncd/ignore.",
        "syncd filter list",
    ),
    Trouble(
        "SY-TRUST-01",
        Exit.NOT_ALLOWED,
        "not trusted",
        "A certificate, signature or role did not allow it.",
        "syncd members shows who is a member of what",
    ),
    Trouble(
        "SY-TRUST-02",
        Exit.NOT_ALLOWED,
        "this device is no longer a member",
        "An owner or admin removed it. What is on disk stays.",
        "to join again: syncd folder leave FOLDER, which keeps all files, and a new code",
    ),
    Trouble(
        "SY-TRUST-03",
        Exit.INTEGRITY,
        "the membership list went backwards",
        "A peer showed an older list than one that was already accepted; it was not taken.",
        "nothing, if that peer was restored from a backup; else look at it",
    ),
    Trouble(
        "SY-TRUST-04",
        Exit.NOT_ALLOWED,
        "the membership may be old",
        "No change of membership was seen for 45 days, so nothing new is sent.",
        "connect to an owner or admin of the folder, or syncd rotate",
    ),
    Trouble(
        "SY-TRUST-05",
        Exit.NOT_ALLOWED,
        "this device may not read the folder",
        "Its member governs the folder without the right to read it, or is a vault, which no version serves yet.",
        "an owner or admin who has the right:  syncd member role FOLDER MEMBER editor, or admin --can read",
    ),
    Trouble(
        "SY-TRUST-06",
        Exit.NOT_ALLOWED,
        "this membership is suspended, or has ended",
        "An owner or admin suspended it, or it had an end. What is on disk stays; nothing comes and nothing goes.",
        "an owner or admin:  syncd member reactivate FOLDER MEMBER, after  syncd member expire FOLDER MEMBER never  "
        "if it had an end",
    ),
    Trouble(
        "SY-FORK-01",
        Exit.INTEGRITY,
        "two owners have taken out each other",
        "Nobody knows who was first, so both are suspended and nothing is exchanged.",
        "another owner decides:  syncd folder decide FOLDER --keep MEMBER, or syncd recover",
    ),
    Trouble(
        "SY-FORK-02",
        Exit.USAGE,
        "there is nothing to decide",
        "Only a quarrel of two owners has to be decided by a person; other forks end by themselves.",
        "look at the folder:  syncd status",
    ),
    Trouble(
        "SY-CLOCK-01",
        Exit.NOT_ALLOWED,
        "a certificate is expired or not yet valid",
        "The clock here and the certificate do not agree.",
        "check the date on both machines; then syncd rotate on a member that works",
    ),
    # --- peers
    Trouble(
        "SY-PEER-01",
        Exit.UNREACHABLE,
        "the peer cannot be reached",
        "It refused, was lost, or took too long.",
        "check that syncd runs there; syncd peers shows who is connected",
    ),
    Trouble(
        "SY-PEER-02",
        Exit.FAILED,
        "the peer broke the protocol",
        "It sent something that no correct syncd sends; the connection was closed.",
        "compare the versions:  syncd version",
    ),
    Trouble(
        "SY-WAIT-01",
        Exit.NOT_IN_SYNC,
        "not in sync in time",
        "Something is still pending, or no other member could be reached.",
        "syncd status",
    ),
    # --- data and disk
    Trouble(
        "SY-DATA-01",
        Exit.INTEGRITY,
        "bytes do not match their hash",
        "Something on disk or from a peer is not what was written; it was not used.",
        "syncd status shows the file; it is fetched again where another peer has it",
    ),
    Trouble(
        "SY-DATA-02",
        Exit.FAILED,
        "a block is nowhere",
        "No connected peer holds all of this version.",
        "connect the peer that wrote it:  syncd explain PATH",
    ),
    Trouble(
        "SY-DB-01",
        Exit.INTEGRITY,
        "the database is damaged",
        "SQLite reports that the file is not a sound database. The files in the folder are not touched.",
        "move the named database away and start again: it is rebuilt from disk and peers",
    ),
    Trouble(
        "SY-DB-02",
        Exit.NEWER_DATABASE,
        "the database is newer than this program",
        "A newer syncd has written it.",
        "install that version again",
    ),
    Trouble(
        "SY-DB-03",
        Exit.FAILED,
        "a database cannot be migrated",
        "A step from the format of before to that of this program failed; the database is as it was.",
        "syncd db rollback, and the version of before",
    ),
    Trouble(
        "SY-DISK-01",
        Exit.FAILED,
        "the disk is full",
        "There is no room for what has to be written; nothing was lost.",
        "free some space; it goes on by itself",
    ),
    Trouble(
        "SY-DISK-02",
        Exit.FAILED,
        "the disk is read-only",
        "The file system does not accept writes.",
        "mount it for writing; it goes on by itself",
    ),
    Trouble(
        "SY-DISK-03",
        Exit.FAILED,
        "the disk reports an error",
        "Reading or writing failed below the file system.",
        "check the disk and its cable, and the kernel's log",
    ),
    Trouble(
        "SY-FILE-01",
        Exit.PARTLY,
        "a file cannot be read",
        "Its permissions do not let syncd read it.",
        "change its permissions, or add it to .syncd/ignore",
    ),
    Trouble(
        "SY-FILE-02",
        Exit.PARTLY,
        "a file cannot be written",
        "The permissions of the file or its directory do not let syncd write.",
        "change the permissions; it goes on by itself",
    ),
    Trouble(
        "SY-FILE-03",
        Exit.PARTLY,
        "a file keeps changing",
        "It was changed while it was read, so a whole version could not be taken.",
        "nothing: it is tried again until the file rests",
    ),
    Trouble(
        "SY-FILE-04",
        Exit.PARTLY,
        "this kind of file is not synced",
        "Pipes, sockets and devices mean something only on one machine.",
        "add it to .syncd/ignore to hide this",
    ),
    Trouble(
        "SY-FILE-05",
        Exit.PARTLY,
        "the name is too long here",
        "This file system allows shorter names than the one it comes from.",
        "give it a shorter name on any member",
    ),
    Trouble(
        "SY-FILE-06",
        Exit.PARTLY,
        "the name is not possible here",
        "This file system does not allow a character of it, or takes it for another name that is there.",
        "rename it on any member",
    ),
    Trouble(
        "SY-FILE-07",
        Exit.PARTLY,
        "a file was changed here while a newer version arrived",
        "The change here counts; both versions are kept.",
        "syncd conflicts",
    ),
    Trouble(
        "SY-FILE-08",
        Exit.PARTLY,
        "a directory cannot be removed",
        "Something in it is ignored, or cannot be removed.",
        "look into the directory",
    ),
    Trouble(
        "SY-FILE-09",
        Exit.PARTLY,
        "attributes cannot be set",
        "This file system does not keep them, or the permissions forbid it.",
        "nothing: the content is in place",
    ),
    Trouble(
        "SY-FILE-10",
        Exit.PARTLY,
        "a file changed without a trace",
        "Its bytes are not what they were, and its times are: the disk forgets, or a program maps the file.",
        "nothing; it is read once more, and then published as an edit or healed from another member",
    ),
    Trouble(
        "SY-FILE-11",
        Exit.PARTLY,
        "a version is not kept anywhere",
        "It was announced, and nobody had fetched it when its author wrote over it or lost it.",
        "nothing, if it is not missed; a member who was away may still bring it",
    ),
    Trouble(
        "SY-FILE-12",
        Exit.PARTLY,
        "a file is too large to be synced",
        "A hole in it ends beyond 16 TiB. The list of its blocks would not fit into memory; it stays here only.",
        "make it smaller, move it out of the folder, or leave it out by a rule",
    ),
    Trouble(
        "SY-ROOT-01",
        Exit.FAILED,
        "the folder's directory is missing",
        "Its root is gone. Nothing is deleted anywhere because of that.",
        "mount or put it back; or say where it lies now:  syncd folder move FOLDER PATH; or:  syncd folder leave",
    ),
    Trouble(
        "SY-ROOT-02",
        Exit.FAILED,
        "the folder's directory has lost its marker",
        "`.syncd/folder` is not there, so this may be an empty mount point. Nothing is deleted because of that.",
        "mount the right disk, or leave and join again",
    ),
    Trouble(
        "SY-ROOT-03",
        Exit.FAILED,
        "the directory belongs to another folder",
        "Its marker names another folder or device.",
        "put the right directory back in its place",
    ),
    Trouble(
        "SY-ROOT-04",
        Exit.FAILED,
        "the folder lies on another file system than its marker",
        "Something is mounted over it or under it.",
        "mount the right disk",
    ),
    Trouble(
        "SY-ROOT-05",
        Exit.NOT_ALLOWED,
        "the folder's directory cannot be read",
        "Its permissions do not let syncd in.",
        "change the permissions of the directory",
    ),
    Trouble(
        "SY-ROOT-06",
        Exit.REFUSED,
        "this directory is a folder of another syncd",
        "Its marker names another device: another home on this computer, or one that the directory was copied from.",
        "if nobody else keeps it in sync any more, remove its .syncd/folder; the rest of .syncd can hold old versions",
    ),
    Trouble(
        "SY-ROOT-07",
        Exit.FAILED,
        "the folder's directory is an older state of it, or a copy",
        "It comes from a backup, say. What it lacks comes back; of what was not looked at yet nothing is deleted.",
        "nothing; what stays is named: make it readable, or let what writes to it all the time rest",
    ),
    Trouble(
        "SY-WATCH-01",
        Exit.FAILED,
        "the system watches no more directories",
        "A limit of the kernel is reached; changes are found by scanning, which is slower.",
        "raise fs.inotify.max_user_watches and fs.inotify.max_user_instances",
    ),
    Trouble(
        "SY-TWIN-01",
        Exit.FAILED,
        "another computer runs with the keys of this one",
        "Its home was copied, and both copies are at work. Others keep a link to one of them only, so what the other "
        "one changes may reach nobody.",
        "stop syncd on one of the two; there, move its home away and join again. Its files stay and are merged",
    ),
    Trouble(
        "SY-TWIN-02",
        Exit.FAILED,
        "a member's device runs on two computers",
        "Two daemons with the keys of one device answer. What one of them changes may not arrive here.",
        "tell its owner: one of the two has to move its home away and join again",
    ),
    Trouble(
        "SY-LATE-01",
        Exit.NOT_ALLOWED,
        "somebody publishes much without the right to",
        "What a device publishes after it lost the right is kept apart and does not count; there is a limit to that.",
        "nothing: nobody is held up. syncd doctor -v names the device; remove it if it is still a member",
    ),
    Trouble(
        "SY-ATTACK-01",
        Exit.FAILED,
        "much is refused",
        "Somebody knocks without a right to, more than a hundred times within the hour.",
        "syncd doctor says from where and what to do; syncd security lists it",
    ),
    Trouble(
        "SY-BRAKE-01",
        Exit.REFUSED,
        "a wave of deletions is held",
        "More than a quarter of the files would vanish; that may be a mistake.",
        "syncd requests, then syncd approve ID or syncd deny ID",
    ),
    Trouble(
        "SY-BRAKE-02",
        Exit.REFUSED,
        "a wave has changed since it was shown",
        "Its author went on, or somebody decided about it; an answer holds for what was shown.",
        "syncd requests, then answer with the id that stands there now, if one does",
    ),
    Trouble(
        "SY-BRAKE-03",
        Exit.REFUSED,
        "a part of a wave could not be undone",
        "The disk refused to give up what was written over; that part waits as before, and nobody else gets it.",
        "when the disk is well again: syncd requests, then syncd deny ID once more",
    ),
    Trouble(
        "SY-BRAKE-04",
        Exit.REFUSED,
        "a wave cannot pass now",
        "This device may publish, but not now: the newest key has not come yet, or owners have taken out each other.",
        "syncd status says which of them; answer again when that is over",
    ),
    # --- the service
    Trouble(
        "SY-HOOK-01",
        Exit.UNREACHABLE,
        "a notification did not arrive",
        "The web address, the program or the mail server of a notify entry could not be reached, or refused.",
        "syncd notify test says why; correct it in config.toml",
    ),
    Trouble(
        "SY-SERV-01",
        Exit.FAILED,
        "there is no service manager",
        "syncd knows systemd on Linux and launchd on macOS; neither is here.",
        "start it by your own means:  syncd run",
    ),
    Trouble(
        "SY-SERV-02",
        Exit.FAILED,
        "the service manager refused",
        "A program of the service manager ended with an error.",
        "without a session of your own (su, sudo) there is none to ask: log in as this user, or start  syncd run",
    ),
    Trouble(
        "SY-SERV-03",
        Exit.NOT_FOUND,
        "syncd is not installed as a service",
        "The service manager has no unit for this home.",
        "syncd service install",
    ),
    Trouble(
        "SY-SERV-04",
        Exit.NOT_ALLOWED,
        "this takes root",
        "The service of the whole machine belongs to its administrator.",
        "sudo, or leave out --system for a service of your own",
    ),
    Trouble(
        "SY-TCC-01",
        Exit.NOT_ALLOWED,
        "macOS does not let syncd read this folder",
        "Its privacy guard keeps Desktop, Documents, Downloads and other places from programs in the background.",
        "syncd service allow PATH says which program to allow, and where",
    ),
    # --- the page
    Trouble(
        "SY-WEB-01",
        Exit.FAILED,
        "the page cannot be opened",
        "Its port on this computer cannot be had, or this daemon has no page.",
        'choose another port in config.toml:  [web] listen = "127.0.0.1:22090"',
    ),
    Trouble(
        "SY-WEB-02",
        Exit.USAGE,
        "the form cannot be taken",
        "A field is empty, or has a value that does not fit.",
        "go back and correct it",
    ),
    Trouble(
        "SY-WEB-03",
        Exit.CONFIG,
        "the PIN of the page cannot be used",
        "It is too short or too long, or its file in the home is damaged.",
        "set it again:  syncd web --pin",
    ),
    Trouble(
        "SY-PIN-01",
        Exit.NOT_ALLOWED,
        "this needs the PIN",
        "There is a PIN on this computer, for whatever changes something.",
        "run it in a terminal, or let SYNCD_PIN_FILE name a file with the PIN",
    ),
    Trouble(
        "SY-PIN-02",
        Exit.NOT_ALLOWED,
        "that was not the PIN",
        "After five wrong ones each next has to wait.",
        "try again; forgotten:  remove the file web-pin from the home",
    ),
    # --- share links
    Trouble(
        "SY-LINK-01",
        Exit.FAILED,
        "share links cannot be served",
        "Their port on this computer cannot be had.",
        'choose another port in config.toml:  [links] listen = ":22190"',
    ),
    Trouble(
        "SY-LINK-02",
        Exit.NOT_ALLOWED,
        "share links of this folder are not allowed",
        "The folder's policy, or your role, does not let you show its content to people outside.",
        "ask an owner:  syncd link policy says who may; syncd member role gives the right links",
    ),
    Trouble(
        "SY-LINK-03",
        Exit.NOT_FOUND,
        "this cannot be shared by a link",
        "It does not exist, is ignored, a symbolic link, or not in place on this computer yet.",
        "name a file or directory that is in sync:  syncd explain PATH",
    ),
    Trouble(
        "SY-LINK-04",
        Exit.USAGE,
        "a link cannot be made like this",
        "A policy or a limit stands against it.",
        "syncd link policy shows for how long links may live; syncd link list what there is",
    ),
    Trouble(
        "SY-LINK-05",
        Exit.USAGE,
        "this password is too easy to guess, or too long",
        "Whoever has the address can try passwords, ten a minute.",
        "choose eight characters or more, best several words",
    ),
    Trouble(
        "SY-LINK-06",
        Exit.CONFIG,
        "the certificate for share links cannot be used",
        "The file is not there, cannot be read, is no certificate in PEM, or its key is another's.",
        "check [links] certificate and key in config.toml:  syncd config edit",
    ),
    Trouble(
        "SY-HIST-01",
        Exit.NOT_FOUND,
        "there was nothing of that name then",
        "No change up to that moment tells of it.",
        "syncd history PATH lists what is known; syncd search TEXT finds names",
    ),
    Trouble(
        "SY-HIST-02",
        Exit.REFUSED,
        "a version is not kept",
        "Neither this device nor any peer that is connected has all of its blocks.",
        "connect the computer that had it, or restore another moment",
    ),
    Trouble(
        "SY-HIST-03",
        Exit.REFUSED,
        "there is not enough space to restore",
        "The disk has less room than the files need; nothing was touched.",
        "make room, or restore less: --only, or another path",
    ),
    Trouble(
        "SY-HIST-04",
        Exit.INTEGRITY,
        "a block of an old version is not there any more",
        "A file or pack that held it was changed or damaged since it was last looked at.",
        "run the command again while a peer that has it is connected",
    ),
    Trouble(
        "SY-HIST-05",
        Exit.REFUSED,
        "the target of a restore is there already",
        "Nothing outside of the folder is ever overwritten.",
        "name a directory or file that does not exist yet",
    ),
    Trouble(
        "SY-HIST-06",
        Exit.NOT_FOUND,
        "no change, snapshot or undo of that name is known",
        "It was never made here, or its name is not complete.",
        "syncd history PATH, syncd snapshot list, syncd undo --list",
    ),
    Trouble(
        "SY-HIST-07",
        Exit.INTEGRITY,
        "a restore drill failed",
        "Old versions that should be on this disk could not be restored as they were.",
        "syncd scrub  reads all packs and heals them from a peer; then  syncd drill",
    ),
    Trouble(
        "SY-HIST-08",
        Exit.REFUSED,
        "part of the past cannot be read here",
        "It was written under a key of the folder that this device was not given, or not yet.",
        "connect to a member who has it; nothing was touched",
    ),
    Trouble(
        "SY-HIST-09",
        Exit.FAILED,
        "space is short, and old versions wait for copies on other devices",
        "What the folder promises goes from here only when other devices have proved that they hold it.",
        "connect another device of the folder, make room, or ask for fewer copies: syncd retention --copies",
    ),
    Trouble(
        "SY-HIST-10",
        Exit.FAILED,
        "old files of an earlier database",
        "What they were called was in a database that is lost or older now. They are kept and never dropped: a program "
        "may have written into one after it was replaced.",
        "look through .syncd/old in the folder: take what you need from there, and delete the rest",
    ),
    Trouble(
        "SY-SAFE-01",
        Exit.FAILED,
        "changes are on this device alone",
        "They are older than five minutes, and no other member has taken them over yet.",
        "start syncd on another device of the folder; syncd peers shows who is connected",
    ),
    Trouble(
        "SY-RESCUE-01",
        Exit.NOT_FOUND,
        "no folder there knows this recovery key",
        "The device answers, but none of its folders was made on the computer that this key was printed on.",
        "ask another device, or take the key that was printed with the folder's first computer",
    ),
    Trouble(
        "SY-CMD-01",
        Exit.NOT_ALLOWED,
        "a command to another device was refused",
        "It was signed by nobody who may restore for others, seen before, too old, or made from another state.",
        "send it anew; syncd audit says, on both devices, what was refused and why",
    ),
    Trouble(
        "SY-CMD-02",
        Exit.NOT_ALLOWED,
        "that device takes no such commands",
        "Its person has not allowed it, or not into that directory.",
        "there: syncd config set restore.remote true; and restore.below DIR for directories outside of folders",
    ),
    Trouble(
        "SY-CMD-03",
        Exit.NOT_ALLOWED,
        "restoring for others is not your right",
        "An owner has it, and an admin who was given it.",
        "ask an owner:  syncd member role FOLDER MEMBER admin --can restore",
    ),
    Trouble(
        "SY-CMD-04",
        Exit.FAILED,
        "another device could not do what it was told",
        "It began, and met a trouble of its own.",
        "look at its message; syncd audit there has it too",
    ),
    Trouble(
        "SY-BUG-01",
        Exit.FAILED,
        "a bug in syncd",
        "Something happened that its authors did not expect. The log has the details.",
        "report it with the log; start again to go on",
    ),
)

CATALOGUE: Mapping[str, Trouble] = MappingProxyType({entry.id: entry for entry in _ENTRIES})

# The id of an error that carries none, by its class; the first that fits counts.
_BY_CLASS: tuple[tuple[type[SyncdError], str], ...] = (
    (ConfigError, "SY-CONF-01"),
    (TrustError, "SY-TRUST-01"),
    (PeerUnavailable, "SY-PEER-01"),
    (StoreBusy, "SY-HOME-01"),
    (StoreCorrupt, "SY-DATA-01"),
    (RemoteProtocolError, "SY-PEER-02"),
)


def trouble_of(error: BaseException) -> Trouble:
    """The entry for an exception: by its id, else by its class, else it is a bug."""
    if isinstance(error, SyncdError) and error.id in CATALOGUE:
        return CATALOGUE[error.id]
    for kind, trouble_id in _BY_CLASS:
        if isinstance(error, kind):
            return CATALOGUE[trouble_id]
    return CATALOGUE["SY-BUG-01"]


@dataclass(frozen=True, slots=True)
class Report:
    """An error as people and scripts see it: three lines, an id and an exit code."""

    id: str
    what: str
    why: str
    fix: str
    exit: int

    def as_json(self) -> dict[str, object]:
        return {"id": self.id, "what": self.what, "why": self.why, "try": self.fix, "exit": self.exit}


def report(error: BaseException) -> Report:
    """Describe an exception. What it does not say itself comes from the catalogue; a stranger's text is not shown."""
    entry = trouble_of(error)
    if not isinstance(error, SyncdError):
        return Report(entry.id, entry.title, f"{entry.why} ({type(error).__name__})", entry.fix, int(entry.exit))
    return Report(
        error.id or entry.id, str(error) or entry.title, error.why or entry.why, error.fix or entry.fix, int(entry.exit)
    )
