"""Real models of the usual kinds and exporters, to test with: ``make zoo``.

Each is a folder with the model's files as the exporter writes them by default, the rows that it
learned from (``train.parquet``), what its own framework predicts for every one of them
(``expected.parquet``), and what it is (``about.json``: see `folders.About`, and ``onnx`` or
``python``, which `parity` adds). Predictions are the columns ``class`` and ``probability.<class>``;
``value``; or ``score``, higher if more unusual, and ``label``. This package runs in the environment
of ``requirements/zoo.in``, which Flagfall's tests do not have; ``--table`` prints all models.

What the exporters write, with skl2onnx 1.20, onnxmltools 1.16, CatBoost 1.2 and PyTorch 2.13:

=======================  ==========================  =============================================
exporter and model       inputs                      outputs
=======================  ==========================  =============================================
skl2onnx, classifier     a tensor of the type that   ``output_label`` [n], int64 or string;
                         it is told: [None, width]   ``output_probability``, a list of n dicts
the same, zipmap=False   the same                    ``label`` [n]; ``probabilities`` [n, classes]
the same, "columns"      the same                    ``output_label`` [n]; ``i<class>`` [n] each
skl2onnx, ColumnTrans-   one a column, [None, 1]:    as a classifier
former                   string, float, int64, bool
skl2onnx, regression     as told                     ``variable`` [n, 1]
skl2onnx, Isolation-     as told                     ``label`` [n, 1], 1 or −1 if unusual;
Forest, OneClassSVM                                  ``scores`` [n, 1], lower if more unusual
skl2onnx, KMeans         as told                     ``label`` [n]; ``scores`` [n, clusters]:
                                                     distances
onnxmltools, LightGBM    float [None, width]         ``label`` [n], but declared as [1];
                                                     ``probabilities``, a list of n dicts
onnxmltools, XGBoost     float [None, width]         ``label`` [n], ``probabilities`` [n, classes]
both, regression         float [None, width]         ``variable`` [n, 1]
CatBoost, classifier     ``features``, float         ``label`` [n], ``probabilities``, a list of
                         [N, width]                  n dicts
CatBoost, regression     the same                    ``predictions`` [n, 1], but declared as [N]
PyTorch                  named as the argument of    named as the last operator, such as
                         ``forward``; as many rows   ``sigmoid`` or ``linear_1``; [n, 1],
                         as the example, if not      [n, classes] or [n]; weights are in
                         told otherwise              ``model.onnx.data``
=======================  ==========================  =============================================

A bool label is exported as 0 and 1. A ZipMap of doubles, skl2onnx's default for a classifier of
doubles, is no model that ONNX Runtime loads. skl2onnx and onnxmltools give their graphs random
names, CatBoost an identifier and the time: two makings of a model are never the same bytes.
"""
