"""The documents of a profile, embedded: what `dft_stats.document_embedding` is made of."""

import numpy as np

from dft_stats.document_embedding import FEATURES, DocumentEmbedding, transformed
from dft_stats.errors import IncomparableError
from dft_stats.measures import median_distance
from dft_stats.profile import Profile

LEAST_DOCUMENTS = 100


def embed_documents(profile: Profile, *, words: tuple[int, int] = (50, 1000), size: int = 256, seed: int = 0) -> DocumentEmbedding:
    """Embed the documents of a profile that are about as long as those to be compared with them.

    Args:
        profile: its table of documents is read.
        words: least and most of a document. Features depend on length, so texts of other lengths differ by that alone.
        size: number of random features; the kernel's error is about 1 / sqrt(size).
        seed: of the random features.

    Raises:
        IncomparableError: fewer than 100 documents have these lengths.
    """
    table = profile.table("documents")
    length = table["words"].to_numpy()
    values = np.stack([table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in FEATURES], 1)
    values = transformed(values[(length >= words[0]) & (length <= words[1])])
    values = values[np.isfinite(values).all(1)]
    if len(values) < LEAST_DOCUMENTS:
        raise IncomparableError(
            f"{profile.name}@{profile.version} has {len(values)} documents of {words[0]} to {words[1]} words and three sentences at least,"
            f" of {len(length)} in all, half of them longer than {np.median(length):.0f} words; {LEAST_DOCUMENTS} are needed."
            " Give the lengths of the texts that are to be compared"
        )
    varies = values.std(0) > 0
    mean, scale = values.mean(0), np.where(varies, values.std(0), 1.0)
    standard = (values - mean) / scale
    rng = np.random.default_rng(seed)
    frequencies = rng.standard_normal((len(FEATURES), size)) / median_distance(standard) * varies[:, None]
    phases = rng.uniform(0, 2 * np.pi, size)
    embedded = np.sqrt(2 / size) * np.cos(standard @ frequencies + phases)
    return DocumentEmbedding(
        profile=f"{profile.name}@{profile.version}",
        documents=len(values),
        words=words,
        features=FEATURES,
        mean=mean,
        scale=scale,
        frequencies=frequencies,
        phases=phases,
        embedding=embedded.mean(0),
        covariance=np.cov(embedded, rowvar=False, bias=True),
    )
