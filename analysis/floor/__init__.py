"""The floor: what no stable shallow network can do better on given data, with a certificate."""
