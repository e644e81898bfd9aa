#!/usr/bin/env python3
"""Handshakes and messages of Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b, made by the package `noiseprotocol` (PyPI).

    pip install noiseprotocol
    Tools/oracles/noise_vectors.py > Tests/MeshTests/Resources/noise.json

The form is the common one of Noise test vectors: {"vectors": [{"protocol_name": ..., "init_static": ...}]}.
"""

import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from noise.connection import Keypair, NoiseConnection

NAME = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b"


def secret(label, number):
    return hashlib.sha256(f"hotaru noise vector {number} {label}".encode()).digest()


def public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def side(number, start, own, remote, prologue, psk):
    noise = NoiseConnection.from_name(NAME.encode())
    noise.set_psks(psk)
    noise.set_prologue(prologue)
    noise.set_keypair_from_private_bytes(Keypair.STATIC, secret(f"{own} static", number))
    noise.set_keypair_from_private_bytes(Keypair.EPHEMERAL, secret(f"{own} ephemeral", number))
    if remote:
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, public(secret(f"{remote} static", number)))
    getattr(noise, f"set_as_{start}")()
    noise.start_handshake()
    return noise


def vector(number):
    prologue = b"" if number == 0 else secret("prologue", number)[:number % 33]
    psk = bytes(32) if number == 1 else secret("psk", number)
    initiator = side(number, "initiator", "init", "resp", prologue, psk)
    responder = side(number, "responder", "resp", None, prologue, psk)
    messages = []
    for step in range(6):
        sender, receiver = (initiator, responder) if step % 2 == 0 else (responder, initiator)
        payload = secret(f"payload {step}", number) * 3
        payload = payload[:(number * 7 + step * 5) % 90]
        if step < 2:
            ciphertext = bytes(sender.write_message(payload))
            assert bytes(receiver.read_message(ciphertext)) == payload
        else:
            ciphertext = bytes(sender.encrypt(payload))
            assert bytes(receiver.decrypt(ciphertext)) == payload
        messages.append({"payload": payload.hex(), "ciphertext": ciphertext.hex()})
    return {
        "protocol_name": NAME,
        "init_prologue": prologue.hex(),
        "init_psks": [psk.hex()],
        "init_static": secret("init static", number).hex(),
        "init_ephemeral": secret("init ephemeral", number).hex(),
        "init_remote_static": public(secret("resp static", number)).hex(),
        "resp_prologue": prologue.hex(),
        "resp_psks": [psk.hex()],
        "resp_static": secret("resp static", number).hex(),
        "resp_ephemeral": secret("resp ephemeral", number).hex(),
        "handshake_hash": initiator.noise_protocol.handshake_hash.hex(),
        "messages": messages,
    }


if __name__ == "__main__":
    print(json.dumps({"vectors": [vector(number) for number in range(6)]}, indent=1))
