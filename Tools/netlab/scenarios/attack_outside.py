"""A flood from somebody without the network's secret: honest puts and gets keep at least 80 % of their rate.

The attacker is in range of four nodes, overhears everything and sends 5,000 packets a second: random bytes, recorded
packets as they are, recorded packets with changed bytes, cut or prolonged, and recorded packets from forged addresses.
The rate without it is measured in the same run, in turns with the rate under attack."""

import shared

SECONDS = 120
QUICK = True


def build(lab):
    return shared.build_siege(lab, lab.secret(), is_insider=False)


act = shared.besiege
