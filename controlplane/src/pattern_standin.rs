//! Until `weir_split::Pattern` is there.
#[derive(Debug)]
pub struct Pattern(usize);
impl Pattern {
    pub fn compile(text: &str) -> Result<Pattern, String> {
        let depth = text.matches(['(', '[']).count() == text.matches([')', ']']).count();
        depth
            .then_some(Pattern(text.len() * 1000))
            .ok_or("unbalanced".into())
    }
    pub fn size(&self) -> usize {
        self.0
    }
}
