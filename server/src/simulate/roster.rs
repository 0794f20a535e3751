//! Who plays: a hundred invented teams of sixteen, the same for every seed, so that the lookup tables can be files.

/// The number of teams; a simulation has at most half as many matches.
pub(super) const TEAMS: usize = 100;
/// Shirts 1 to 16: the first eleven start.
pub(super) const SQUAD: usize = 16;

const CITIES: [&str; 25] = [
    "Aldmoor",
    "Brackwater",
    "Carrowby",
    "Dunhaven",
    "Eastmere",
    "Fallowfield",
    "Glenport",
    "Harrowgate",
    "Ironbridge",
    "Jarnholm",
    "Kestrel Bay",
    "Lindow",
    "Marlstone",
    "Northwick",
    "Oakhurst",
    "Penrock",
    "Quayside",
    "Ravenfell",
    "Saltmarsh",
    "Thornbury",
    "Ulverton",
    "Valemouth",
    "Westering",
    "Yarrow",
    "Zennor",
];
const ENDINGS: [&str; 4] = ["United", "City", "Rovers", "Athletic"];
const FIRST_NAMES: [&str; 20] = [
    "Adam", "Bruno", "Carlos", "Dario", "Emil", "Felix", "Goran", "Hugo", "Ivan", "Jonas", "Kofi", "Luca", "Mateo",
    "Nils", "Omar", "Pavel", "Rui", "Sami", "Tomas", "Yusuf",
];
const LAST_NAMES: [&str; 32] = [
    "Abeni",
    "Brandt",
    "Castellan",
    "Dvorin",
    "Ekholm",
    "Farrow",
    "Grimaldo",
    "Hartley",
    "Ibarra",
    "Janek",
    "Kovari",
    "Lindqvist",
    "Moreau",
    "Nakari",
    "Okafor",
    "Petrov",
    "Quintero",
    "Rasmus",
    "Solano",
    "Tavares",
    "Ueland",
    "Vidal",
    "Westby",
    "Ximeno",
    "Yilmaz",
    "Zoric",
    "Almquist",
    "Bellamy",
    "Corvin",
    "Desai",
    "Esposito",
    "Falk",
];

/// A team by its number, `0..TEAMS`.
pub(super) fn team_id(team: usize) -> String {
    format!("t{:03}", team + 1)
}

pub(super) fn team_name(team: usize) -> String {
    format!("{} {}", city(team), ENDINGS[team / CITIES.len() % ENDINGS.len()])
}

fn city(team: usize) -> &'static str {
    CITIES[team % CITIES.len()]
}

/// A player by team and place in the squad, `0..SQUAD`; the shirt is the place plus one.
pub(super) fn player_id(team: usize, place: usize) -> String {
    format!("p{:03}{:02}", team + 1, place + 1)
}

pub(super) fn player_name(team: usize, place: usize) -> String {
    // Steps without a common divisor with the lists' lengths: no name twice in a team.
    let (first, last) = ((team * 7 + place * 3) % FIRST_NAMES.len(), (team * 5 + place * 11) % LAST_NAMES.len());
    format!("{} {}", FIRST_NAMES[first], LAST_NAMES[last])
}

pub(super) fn position(place: usize) -> &'static str {
    match place {
        0 => "GK",
        1..=4 | 11 => "DEF",
        5..=7 | 12 | 13 => "MID",
        _ => "FWD",
    }
}

/// `schemas/data/teams.csv`.
pub fn teams_csv() -> String {
    let mut out = String::from("team_id,team_name,city\n");
    for team in 0..TEAMS {
        out.push_str(&format!("{},{},{}\n", team_id(team), team_name(team), city(team)));
    }
    out
}

/// `schemas/data/players.csv`.
pub fn players_csv() -> String {
    let mut out = String::from("player_id,player_name,team_id,position,shirt\n");
    for team in 0..TEAMS {
        for place in 0..SQUAD {
            let (id, name, position) = (player_id(team, place), player_name(team, place), position(place));
            out.push_str(&format!("{id},{name},{},{position},{}\n", team_id(team), place + 1));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    // The lookup tables that are shipped are the simulator's teams and players.
    #[test]
    fn shipped_tables_are_the_roster() {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/data");
        for (file, expected) in [("teams.csv", super::teams_csv()), ("players.csv", super::players_csv())] {
            let shipped = std::fs::read_to_string(format!("{data}/{file}")).unwrap_or_default();
            assert!(shipped == expected, "schemas/data/{file} is stale: `touchline simulate` writes the new one");
        }
    }
}
