from fastreid_ext.engine.evaluation_loop import results_table


def test_the_table_names_the_rule_of_each_map():
    table = results_table("Market1501", {"Rank-1": 95.123, "mAP": 88.0, "mAP (market)": 87.5})
    header, _, row = table.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, row)]
    assert cells[0] == ["test set", "Rank-1", "mAP (fastreid)", "mAP (market)"]
    assert cells[1] == ["Market1501", "95.12", "88.00", "87.50"]
