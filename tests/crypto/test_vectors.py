"""Known answers: NIST's GCM vectors through the code that encrypts columns, and what Node wrote."""

import pytest

from leadctl.crypto import Key, Keyring, decrypt, seal, unseal
from leadctl.errors import DecryptionFailed, UnknownKey

# Test cases 13 to 18 (256-bit keys) of "The Galois/Counter Mode of Operation", the submission to
# NIST that SP 800-38D standardises: key, nonce, text, associated data, ciphertext, tag.
P = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
K = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
A = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
VECTORS = [
    ("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    (
        "00" * 32,
        "00" * 12,
        "00" * 16,
        "",
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    ),
    (
        K,
        "cafebabefacedbaddecaf888",
        P,
        "",
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
        "b094dac5d93471bdec1a502270e3cc6c",
    ),
    (
        K,
        "cafebabefacedbaddecaf888",
        P[:120],
        A,
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
    (
        K,
        "cafebabefacedbad",
        P[:120],
        A,
        "c3762df1ca787d32ae47c13bf19844cbaf1ae14d0b976afac52ff7d79bba9de0"
        "feb582d33934a4f0954cc2363bc73f7862ac430e64abe499f47c9b1f",
        "3a337dbf46a792c45e454913fe2ea8f2",
    ),
    (
        K,
        "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728"
        "c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b",
        P[:120],
        A,
        "5a8def2f0c9e53f1f75d7853659e2a20eeb2b22aafde6419a058ab4f6f746bf4"
        "0fc0c3b780f244452da3ebf1c5d82cdea2418997200ef82e44ae7e3f",
        "a44a8266ee1c8eb0c8b5d4cf5ae9f19a",
    ),
]


@pytest.mark.parametrize(("key", "nonce", "text", "associated", "ciphertext", "tag"), VECTORS)
def test_nist_vectors(
    key: str, nonce: str, text: str, associated: str, ciphertext: str, tag: str
) -> None:
    ours = Key.from_hex("nist", key)
    given = (bytes.fromhex(nonce), bytes.fromhex(text), bytes.fromhex(associated))
    sealed = seal(ours, *given)
    assert sealed.hex() == ciphertext + tag
    assert unseal(ours, given[0], sealed, given[2]) == given[1]
    broken = bytes([sealed[0] ^ 1]) + sealed[1:]
    with pytest.raises(ValueError, match="tag"):
        unseal(ours, given[0], broken, given[2])


NODE_KEY = "6b0c6f1d9f2e4a7785c3b1a0de55f00d3c2b1a0918f7e6d5c4b3a29181706f5e"
NODE_VALUES = {
    "9016efce40725ad3f6d732278c8fbbe4:9324cdcca4e8a2df30ef083ed63b939e:"
    "98475b875f8b78042d2f4ea7a6c5caa3f7081b": "EAAG-user-token-ada",
    "c89fe0ee248a1fd881f8d51acf2199a6:0e725fdd32ec011c9ab50538d5f43319:"
    "fb97be4c4045e419709dfe75586250ea": "EAAG-refresh-ada",
    "aa15f08fbf87bc718db66f4d81689c1d:107626237b9f7d09b6efe0df6ad51c21:"
    "ccd5cb22303846bce8757b": "EAAG-page-1",
}
"""Written by Node's crypto module: AES-256-GCM, 16-byte iv, `iv:authTag:ciphertext`."""


@pytest.mark.parametrize("value", NODE_VALUES)
def test_what_node_wrote(value: str) -> None:
    ours = Key.from_hex("ours", "ab" * 32)
    node = Key.from_hex("node", NODE_KEY, legacy=True)
    assert decrypt(value, Keyring([ours, node]), "any.context") == NODE_VALUES[value]
    with pytest.raises(UnknownKey):  # a key that is not entered as legacy does not count
        decrypt(value, Keyring([Key.from_hex("node", NODE_KEY)]), "any.context")
    wrong = Key.from_hex("node", "cd" * 32, legacy=True)
    with pytest.raises(DecryptionFailed):
        decrypt(value, Keyring([ours, wrong]), "any.context")
    assert decrypt(value, Keyring([wrong, ours, node]), "x") == NODE_VALUES[value]
    flipped = value[:-1] + ("0" if value[-1] != "0" else "1")
    with pytest.raises(DecryptionFailed):
        decrypt(flipped, Keyring([node]), "x")


def test_a_12_byte_iv_is_read_too() -> None:
    node = Key.from_hex("node", NODE_KEY, legacy=True)
    sealed = seal(node, bytes(range(12)), b"twelve", b"")
    value = f"{bytes(range(12)).hex()}:{sealed[-16:].hex()}:{sealed[:-16].hex()}"
    assert decrypt(value, Keyring([node]), "x") == "twelve"
