//! Random lookups in the static table: joins with it, and filters by what it holds, NULLs and all.

use super::super::sql::{Column, Kind, Sql};
use super::{Relation, Writer};

impl Writer {
    /// A join with the static table, or a filter by it.
    pub(super) fn lookup(&mut self, depth: u32) -> Relation {
        let input = self.relation(depth);
        let alias = self.name("s");
        let ours: Vec<Column> = qualified(&input.columns, &alias);
        let Some((key, of)) = self.lookup_key(&ours) else { return input };
        let residual = match self.choices().below(4) {
            3 => format!(" AND d.w > {}", self.choices().of(&["0", "2"])),
            _ => String::new(),
        };
        let plain = |column: &Column| (Sql::same(format!("{alias}.{}", column.name)), column.clone());
        let mut items: Vec<(Sql, Column)> = input.columns.iter().map(plain).collect();
        let source = input.source();
        let kind = self.choices().below(10);
        let rest = if kind < 4 {
            let join = if kind < 2 { "JOIN" } else { "LEFT JOIN" };
            let (label, number) = (self.name("c"), self.name("c"));
            items.push((Sql::same("d.label"), Column::new(label, Kind::Text)));
            items.push((Sql::same("d.w"), Column::new(number, Kind::Whole)));
            Sql::of(&format!("{{}} AS {alias} {join} d ON {key} = d.{of}{residual}"), &[&source])
        } else {
            // All of the table's values, the NULLs among them, or with the residual some.
            let set = format!("SELECT d.{of} FROM d{}", residual.replacen(" AND", " WHERE", 1));
            let condition = match kind {
                4 => Sql::same(format!("{key} IN (SELECT d.{of} FROM d WHERE d.{of} IS NOT NULL{residual})")),
                5 => Sql::same(format!("EXISTS (SELECT 1 FROM d WHERE d.{of} = {key}{residual})")),
                6 => Sql::same(format!("NOT EXISTS (SELECT 1 FROM d WHERE d.{of} = {key}{residual})")),
                7 => Sql::same(format!("{key} IN ({set})")),
                8 => Sql::same(format!("{key} NOT IN ({set})")),
                _ => self.membership_in_a_condition(&format!("{key} NOT IN ({set})"), &ours),
            };
            Sql::of(&format!("{{}} AS {alias} WHERE {{}}"), &[&source, &condition])
        };
        self.select(items, &rest, input.reads_part)
    }

    /// Where it is no conjunct, what is unknown is not what is false.
    fn membership_in_a_condition(&mut self, membership: &str, scope: &[Column]) -> Sql {
        if self.choices().below(2) == 1 {
            return Sql::same(format!("({membership}) IS NULL"));
        }
        let numbers: Vec<Column> = scope.iter().filter(|column| column.kind == Kind::Whole).cloned().collect();
        let other = self.expressions.condition(&numbers, 0);
        Sql::of(&format!("{membership} OR {{}}"), &[&other])
    }

    /// What of a stream is looked up, and in which column.
    fn lookup_key(&mut self, scope: &[Column]) -> Option<(String, &'static str)> {
        let keys: Vec<(String, &str)> = scope
            .iter()
            .filter_map(|column| match column.kind {
                Kind::Text => Some((column.name.clone(), "k")),
                Kind::Whole => Some((column.name.clone(), "g")),
                _ => None,
            })
            .collect();
        if keys.is_empty() {
            return None;
        }
        Some(keys[self.choices().below(keys.len() as u32) as usize].clone())
    }

    /// Rows with a lookup beside them in the same FROM, whose columns come into sight.
    pub(super) fn looked_up(&mut self, rows: &Sql, scope: &mut Vec<Column>) -> Sql {
        let Some((key, of)) = self.lookup_key(scope) else { return rows.clone() };
        let (looked_up, label, number) = (self.name("d"), self.name("d"), self.name("d"));
        let join = self.choices().of(&["JOIN", "LEFT JOIN"]);
        scope.push(Column::new(&label, Kind::Text));
        scope.push(Column::new(&number, Kind::Whole));
        let side = format!("(SELECT {of} AS {looked_up}, label AS {label}, w AS {number} FROM d)");
        Sql::of(&format!("{{}} {join} {side} AS d ON {key} = {looked_up}"), &[rows])
    }
}

fn qualified(columns: &[Column], alias: &str) -> Vec<Column> {
    columns.iter().map(|column| Column::new(format!("{alias}.{}", column.name), column.kind)).collect()
}
