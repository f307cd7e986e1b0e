"""03 - Turn every clip into frames, one store a stream.

Reads   the corpus' clips, work/<run>/transcripts/
Writes  work/<run>/features/<stream>/: frames.npy, index.csv, missing.csv, meta.json
Run     python scripts/03_extract_features.py sample --streams text=tfidf-svd audio=npy:/data/hubert.zip
"""

from meiju import features, transcripts
from meiju.corpus import LEARNT_FROM
from meiju.steps import main


def extract_features(run):
    if not run.begin("features"):
        return
    clips = transcripts.as_clips(run.corpus.clips, run.result("transcripts"))
    learnt_from = set(run.corpus.clips.name[run.corpus.clips.part.isin(LEARNT_FROM)])
    for stream, encoder in run.encoders.items():
        store = features.extract(
            encoder,
            clips,
            [clip for clip in clips if clip.name in learnt_from],
            run.stream_folder(stream),
            meta={"encoder": encoder.fingerprint()},
            seed=run.config.seed,
            n_jobs=run.config.n_jobs,
            label=f"features of {stream}",
            compute=run.config.compute,
        )
        print(features.describe(stream, store, run.stream_folder(stream)))
    run.finish("features")


if __name__ == "__main__":
    main(extract_features)
