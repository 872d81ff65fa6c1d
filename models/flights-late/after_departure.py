"""Will a flight arrive more than 15 minutes late? Predicted after departure: the second version, which also uses
the departure delay.

Honest in time: trained on the first three quarters of the period, measured on the last.
"""

import os

import mlflow
import mlflow.sklearn
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

data = pd.read_parquet(os.environ["GROUNDPLAN_TRAINING_SET"])
features = data.columns.drop(["flight_id", "event_timestamp", "late"])
split = data["event_timestamp"].quantile(0.75)
past, future = data[data["event_timestamp"] < split], data[data["event_timestamp"] >= split]

with mlflow.start_run():
    parameters = {
        "max_iter": 150,
        "learning_rate": 0.08,
        "max_leaf_nodes": 31,
        "class_weight": "balanced",
        "random_state": 42,
    }
    mlflow.log_params(parameters)
    mlflow.log_param("trained_until", str(split))
    model = HistGradientBoostingClassifier(**parameters)
    model.fit(past[features], past["late"])
    mlflow.log_metric("roc_auc", roc_auc_score(future["late"], model.predict_proba(future[features])[:, 1]))
    mlflow.sklearn.log_model(model, "model")
