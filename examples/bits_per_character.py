"""How well does a prior know a text? Bits per character, beside those of a compressor.

python examples/bits_per_character.py
"""

import lzma
import math

import sfumato as sf
from sfumato.denoisers.sequential import walk
from sfumato.inverse.tokens.histories import leading_chain

KNOWN = """\
The man that wandereth out of the way of understanding shall remain in the congregation of the dead.
He that loveth pleasure shall be a poor man: he that loveth wine and oil shall not be rich.
The wicked shall be a ransom for the righteous, and the transgressor for the upright.
It is better to dwell in the wilderness, than with a contentious and an angry woman.
"""
OTHER = """\
The assignment statement evaluates the expression list and assigns the single resulting object to
each of the target lists, from left to right. An attribute reference must evaluate to an object of a
type that supports attribute references. A call always returns some value, possibly None, unless it
raises an exception. How this value is computed depends on the type of the callable object.
"""

prior = sf.load_plugin("text").prior()
chain = leading_chain(prior.denoiser)
assert chain is not None  # counts of n-grams read from left to right; networks have chain_rule
for name, some in {"scripture": KNOWN, "documentation": OTHER}.items():
    (log_p,) = walk(chain, [prior.codec.encode(some).numpy()])
    bits = -float(log_p.sum()) / math.log(2) / len(some)
    packed = 8 * len(lzma.compress(some.encode())) / len(some)
    print(f"{name}: {bits:.2f} bits per character; lzma alone needs {packed:.2f}")
