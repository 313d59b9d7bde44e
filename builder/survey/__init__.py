"""The survey: every CTranslate2 release against every torch release, proven from recorded facts."""
