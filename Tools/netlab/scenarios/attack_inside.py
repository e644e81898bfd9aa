"""A flood from somebody with the network's secret: honest puts and gets keep at least 80 % of their rate.

The attacker runs a node of its own that belongs to the network, and next to it sends 5,000 packets a second: what its
node and the others send, recorded, as it is, changed, cut or prolonged, and from forged addresses, hellos among them.
The rate without the flood is measured in the same run, in turns with the rate under attack."""

import lab as laboratory
import shared

SECONDS = 120


def build(lab):
    secret = lab.secret()
    if secret is None:
        raise laboratory.Failure("this hotaru knows no network secret (init --secret-file)")
    return shared.build_siege(lab, secret, is_insider=True)


act = shared.besiege
