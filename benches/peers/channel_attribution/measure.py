"""PyPI's ChannelAttribution over the journeys of a file (path,c,v,n). Prints one JSON object. Started by `make bench ARGS=attribution`.

Arguments: file, model (`heuristics` or `markov`), and for markov its convergence tolerance and least number of simulations. Only the model is
timed: the table is read before.
"""

import contextlib
import io
import json
import sys
import time

with contextlib.redirect_stdout(io.StringIO()):
    import ChannelAttribution
    import pandas

    table = pandas.read_csv(sys.argv[1])
    model = sys.argv[2]
    begun = time.perf_counter()
    if model == "heuristics":
        found = ChannelAttribution.heuristic_models(table, "path", "c", var_value="v", sep=">", flg_pro=False)
    else:
        tolerance, draws, seed = float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
        found = ChannelAttribution.markov_model(
            table,
            "path",
            "c",
            var_value="v",
            var_null="n",
            order=1,
            seed=seed,
            conv_par=tolerance,
            nsim_start=draws,
            verbose=False,
            flg_pro=False,
        )
    took = time.perf_counter() - begun
if isinstance(found, (list, tuple)):
    found = found[0]
found = found.set_index(found.columns[0])
shares = {column: (found[column] / found[column].sum()).to_dict() for column in found.columns}
print(json.dumps({"rate": len(table) / took, "shares": shares}))
